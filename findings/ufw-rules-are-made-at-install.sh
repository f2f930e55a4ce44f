#!/bin/bash
# Debian's ufw brings no rules in /etc: its package has only templates, and what runs when it
# is installed copies them. An unpacked ufw finds no rules and refuses to start.
#
# Guess before it was run: the files of /etc/ufw are in the package, as its other
# configuration is.
# Seen with: ufw 0.36.2-1 (Debian 12).
# What follows for syn-guard: its lab copies them (xtask/src/lab/engines/ufw.rs).
#
# Needs apt. Nothing is installed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -q -o APT::Sandbox::User="$(id -un)" download ufw=0.36.2-1 >/dev/null
dpkg-deb -x ufw_0.36.2-1_all.deb unpacked
rules=$(find unpacked/etc/ufw -name '*.rules' | wc -l)
templates=$(find unpacked/usr/share/ufw -name '*.rules' | wc -l)
configuration=$(find unpacked/etc/ufw -type f | wc -l)
echo "ufw 0.36.2-1: $rules rules and $configuration other files in /etc/ufw, $templates templates"
[ "$rules" -eq 0 ] && [ "$templates" -gt 0 ] && [ "$configuration" -gt 0 ]
