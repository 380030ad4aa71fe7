# shellcheck shell=bash
# System packages by apt: only what is missing, with sudo where that is needed, from wherever this machine takes its packages.

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "root is needed for: $*. Install sudo, or run this script as root."
    sudo "$@"
  fi
}

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
  done
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 -o APT::Update::Error-Mode=any "$@"
}

# need_packages NAME...: install what is not there. Nothing is downloaded, and root is not needed, when all are there.
need_packages() {
  local missing log=$LOGS/packages.log
  command -v dpkg-query >/dev/null || die "this is not a Debian or Ubuntu system; install the equivalents of these packages by hand: $*"
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing system packages: ${missing[*]}"
  if ! { apt_get update && apt_get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    die "apt could not install: ${missing[*]}. The whole log is in $log."
  fi
}

# distribution_sources deb|deb-src: the lines of sources.list for the archive of this machine's own release, wherever the machine takes it from.
# apt is asked, not its files: it knows both formats of them. Third parties' archives are left out.
distribution_sources() {
  local keyring site release components
  for keyring in /usr/share/keyrings/{debian,ubuntu}-archive-keyring.gpg ''; do
    [ ! -e "$keyring" ] || break
  done
  apt-get indextargets --format '$(ORIGIN) $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk -v codename="$(release_codename)" '$1 ~ /^(Debian|Ubuntu)$/ && $3 ~ "^" codename "(-(updates|security))?$" && !seen[$2, $3, $4]++ { found[$2 " " $3] = found[$2 " " $3] " " $4 }
      END { for (place in found) print place found[place] }' | sort |
    while read -r site release components; do
      printf '%s %s%s %s %s\n' "$1" "${keyring:+[signed-by=$keyring] }" "$site" "$release" "$components"
    done
}

release_codename() {
  (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:?}")
}
