# shellcheck shell=bash
# Functions that create a root folder with another Debian release. Source steps.bash first. Needs root and Debian.

# Prints the Debian mirrors of apt's configuration, in either of its formats. Prints nothing before `apt-get update`.
debian_mirror() {
  # shellcheck disable=SC2016 # apt expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u
}

# debian_root SUITE FOLDER PACKAGES: replaces the folder by a root of that suite. PACKAGES is a list with commas.
debian_root() {
  local suite=$1 folder=$2 packages=$3 mirror scripts=/usr/share/debootstrap/scripts script
  mirror=$(debian_mirror)
  if [[ -z $mirror ]]; then
    quietly apt-get update && mirror=$(debian_mirror)
  fi
  [[ -n $mirror ]] || die "no Debian mirror in apt's configuration, which debootstrap needs for $suite; add one to /etc/apt"
  script=$scripts/$suite
  # A debootstrap that is older than the suite has no script of its name.
  [[ -e $script ]] || script=$scripts/sid
  rm -rf "$folder" && mkdir -p "$folder" &&
    quietly debootstrap --variant=minbase --include="$packages" "$suite" "$folder" "${mirror%%$'\n'*}" "$script"
}
