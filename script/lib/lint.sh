# shellcheck shell=bash
# The linters: each a step of its own, so that one that fails does not hide the others.

lint() {
  local shell_scripts
  mapfile -t shell_scripts < <(cd "$ROOT" && git ls-files -co --exclude-standard | grep -v '\.j2$' | xargs -r grep -lE '^#!.*\b(ba)?sh$|^# shellcheck shell=')
  step "lint: ruff" 120 ruff check .
  step "lint: yamllint" 120 yamllint --strict .
  step "lint: mypy" 300 mypy
  step "lint: shellcheck" 120 shellcheck "${shell_scripts[@]}"
  step "lint: links between documents" 60 script/lib/dead-links
  step "lint: ansible-lint, production profile" 600 ansible-lint --offline --nocolor --profile production --strict
  step "lint: changelog fragments" 120 antsibull-changelog lint
  step "lint: documentation of plugins and roles" 300 antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .
}
