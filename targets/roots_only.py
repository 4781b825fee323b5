"""Shell for a board that looks for sudo, and starts programs that nobody but root can change."""

from __future__ import annotations

from typing import Final

# $1 is a mark, and what follows it on standard error is for us; $2 and on are for the last part.
_CHECKS: Final = r"""
mark=$1; shift; PATH=/usr/sbin:/usr/bin:/sbin:/bin; LC_ALL=C; export PATH LC_ALL
refuse() { printf "%s\n" "${mark}refused $1" >&2; exit 1; }
roots() {
  set -f; set -- "$1" $(ls -ldn -- "$1" 2>/dev/null); set +f
  [ $# -ge 6 ] || return 1
  [ "$4" = 0 ] || return 1
  case $2 in
    l*) ;;
    ????????w*) return 1 ;;
    ?????w????+*) return 1 ;;
    ?????w*) [ "$5" = 0 ] || return 1 ;;
  esac
}
only_roots() {
  rest=${1#/} at= links=0
  roots / || return 1
  while [ -n "$rest" ]; do
    part=${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
    case $part in ""|.) continue ;; ..) at=${at%/*}; continue ;; esac
    at=$at/$part
    roots "$at" || return 1
    if [ -h "$at" ]; then
      links=$((links + 1)); [ $links -le 40 ] || return 1
      link=$(readlink -- "$at") || return 1
      case $link in /*) at= ;; *) at=${at%/*} ;; esac
      rest=$link${rest:+/$rest}; rest=${rest#/}
    fi
  done
}
"""

LOOK: Final = (
    _CHECKS
    + r"""
id -u; id -un
for sudo in /usr/bin/sudo /bin/sudo /usr/local/bin/sudo /run/wrappers/bin/sudo; do
  if [ -u "$sudo" ] && only_roots "$sudo"; then echo "$sudo"; exit 0; fi
done
"""
)

# $1: how many words come before the program.  An interpreter runs whatever file it is given.
RUN: Final = (
    _CHECKS
    + r"""
count=$1 index=0; shift
for word in "$@"; do
  shift; index=$((index + 1))
  if [ $index -eq $((count + 1)) ]; then
    case $word in
      /*) program=$word ;;
      */*) refuse "$word is no full path" ;;
      *)
        program=
        for folder in /usr/sbin /usr/bin /sbin /bin; do
          [ -n "$program" ] || ! [ -x "$folder/$word" ] || program=$folder/$word
        done ;;
    esac
    if ! [ -e "$program" ]; then echo "$word is not there" >&2; exit 127; fi
    only_roots "$program" || refuse "$at can be changed by others than root"
    printf "%s\n" "${mark}program $program" >&2
    case ${program##*/} in
      *sh|busybox|python*|perl*|ruby*|lua*|*awk|env|xargs) runs_files=1 ;;
      *) runs_files= ;;
    esac
    word=$program
  elif [ $index -gt $count ] && [ -f "$word" ] && [ -x "$word" -o -n "$runs_files" ]; then
    case $word in /*) ;; *) refuse "$word is no full path" ;; esac
    only_roots "$word" || refuse "$at can be changed by others than root"
  fi
  set -- "$@" "$word"
done
exec "$@"
"""
)
