# Copyright: Contributors to dgxops.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""slurmdbd's database in MariaDB: there, made, or saved and dropped.

Its user is the system's user ``slurm`` and no other, told by the socket (MariaDB's unix_socket), so there is no password to keep.
"""
import os

from ..host.commands import Commands
from ..host.errors import FleetError
from .slurm_files import DATABASE

_USER = "slurm@localhost"


def exists(commands: Commands) -> bool:
    """Whether database and user are there."""
    text = ("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = '{0}'; "
            "SELECT COUNT(*) FROM mysql.user WHERE user = 'slurm' AND host = 'localhost';\n").format(DATABASE)
    return _ask(commands, text).split() == ["1", "1"]


def create(commands: Commands) -> None:
    """Make what is missing; what is there stays."""
    _ask(commands, "CREATE DATABASE IF NOT EXISTS {0}; CREATE USER IF NOT EXISTS {1} IDENTIFIED VIA unix_socket; "
                   "GRANT ALL ON {0}.* TO {1};\n".format(DATABASE, _USER))


def save_and_drop(commands: Commands, directory: str) -> None:
    """Drop database and user, after all of it is in a file that only root may read. A file that is there is of an earlier time and stays."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    at = 0
    while os.path.exists(os.path.join(directory, "{0}.{1}.sql".format(DATABASE, at))):
        at += 1
    path = os.path.join(directory, "{0}.{1}.sql".format(DATABASE, at))
    if exists(commands):
        os.close(os.open(path + ".part", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        commands.output(["mysqldump", "--single-transaction", "--result-file=" + path + ".part", DATABASE], 3600)
        os.replace(path + ".part", path)
    _ask(commands, "DROP DATABASE IF EXISTS {0}; DROP USER IF EXISTS {1};\n".format(DATABASE, _USER))


def _ask(commands: Commands, text: str) -> str:
    try:
        return commands.output(["mysql", "--batch", "--skip-column-names"], 60, text)
    except FleetError as error:
        raise FleetError("MariaDB on this host does not take orders from root by its socket, as it does after an installation: {0}".format(error.message))
