# shellcheck shell=bash
# The linters: each a step of its own, so that one that fails does not hide the others.

lint() {
  step "lint: ruff" 60 ruff check .
  step "lint: yamllint" 60 yamllint --strict .
  step "lint: mypy" 300 mypy_all
  step "lint: shellcheck" 60 shellcheck_all
  step "lint: ansible-lint, production profile" 600 ansible-lint --offline --nocolor --profile production --strict
  step "lint: changelog fragments" 60 antsibull-changelog lint
  step "lint: documentation of plugins and roles" 300 antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all .
}
