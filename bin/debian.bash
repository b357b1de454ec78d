# shellcheck shell=bash
# Sourced, behind steps.bash, by what needs another Debian than the machine's own. Needs root, on a Debian machine.

# The Debian mirror apt is configured with, in whichever format; apt knows it from `apt-get update` on.
debian_mirror() {
  # shellcheck disable=SC2016 # apt expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u
}

# debian_root SUITE FOLDER PACKAGES: makes the folder anew, with a root of that suite; packages are joined by commas.
debian_root() {
  local suite=$1 folder=$2 packages=$3 mirror
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    quietly apt-get update && mirror=$(debian_mirror)
  fi
  [[ -n $mirror ]] || die "apt on this machine is configured with no Debian mirror to make a $suite root from"
  rm -rf "$folder" && mkdir -p "$folder" &&
    quietly debootstrap --variant=minbase --include="$packages" "$suite" "$folder" "${mirror%%$'\n'*}"
}
