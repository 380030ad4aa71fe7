# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the variables of slurm_gpu become, by whichever ansible-core runs this: those before 2.19 make other types of some."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]

INVENTORY = """
all:
  hosts:
    slurm01: {ansible_connection: local}
  children:
    slurm_controllers: {hosts: {slurm01: }}
    dgx: {hosts: {dgx01: }}
"""

PLAY = r"""
- hosts: slurm01
  gather_facts: false
  vars_files: [role/defaults/main.yml, role/vars/main.yml]
  vars:
    slurm_gpu_nodes:
      nodes: {dgx01: {cpus: 8, sockets: 2, cores_per_socket: 4, threads_per_core: 1, real_memory_mib: 1024, gpus: []}}
      text: "{\n}\n"
      version: 22.05.8
  tasks:
    - ansible.builtin.assert:
        that:
          - slurm_gpu_hook_settings.timeout == 60 and slurm_gpu_hook_settings.statistics is sameas true
          - slurm_gpu_files['job.json'] is string and (slurm_gpu_files['job.json'] | from_json) == slurm_gpu_hook_settings
          - slurm_gpu_files['slurm_nodes.json'] == slurm_gpu_nodes.text
          - slurm_gpu_files['database.cnf'].splitlines()[1:4] == ['[mysqld]', 'innodb_buffer_pool_size=1024M', 'innodb_lock_wait_timeout=900']
          - slurm_gpu_files['job'].splitlines()[0] == '#!/usr/bin/python3 -I'
          - slurm_gpu_files.prolog.splitlines() | length == 2
          - slurm_gpu_files.values() | reject('none') | reject('string') | list == [slurm_gpu_files.warnings]
"""


def test_a_controller_that_is_no_node_gets_texts_and_numbers_are_numbers(tmp_path):
    place = tmp_path / "ansible_collections/dgxops"
    place.mkdir(parents=True)
    (place / "fleet").symlink_to(ROOT)
    (tmp_path / "role").symlink_to(ROOT / "roles/slurm_gpu")
    (tmp_path / "files").symlink_to(ROOT / "roles/slurm_gpu/files")
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    (tmp_path / "play.yml").write_text(PLAY)
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(tmp_path), ANSIBLE_HOME=str(tmp_path / "home"), ANSIBLE_NOCOLOR="1")
    words = [sys.executable, "-m", "ansible", "playbook", "--inventory", str(tmp_path / "inventory.yml"), str(tmp_path / "play.yml")]
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
