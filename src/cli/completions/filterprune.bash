# Completion of filterprune for bash. Options and their words are read from `filterprune help COMMAND`, so that they
# are always those of the program that is installed.

_filterprune()
{
    local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local commands="inspect compare unpack convert verify info diff export profile corpus help" command="" help words
    # "--name=value" arrives as three words.
    if [[ $current == = ]]; then
        current=""
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD-2]}
    fi
    if (( COMP_CWORD > 1 )) && [[ " $commands " == *" ${COMP_WORDS[1]} "* ]]; then
        command=${COMP_WORDS[1]}
    fi
    if [[ $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${commands/ help/}" -- "$current")
        return
    fi
    help=$("$program" help ${command:+"$command"} 2>/dev/null)

    if [[ $previous == --* ]]; then
        # The words of "--layout ORDER  auto|oihw|hwio: ...".
        words=$(sed -nE "s/^.* $previous [A-Z]+ +([a-zA-Z0-9]+(\|[a-zA-Z0-9]+)+):.*/\1/p" <<<"$help")
        if [[ -n $words ]]; then
            words=${words//|/ }
            mapfile -t COMPREPLY < <(compgen -W "${words//[A-Z]/}" -- "$current")
            [[ $words == *FILE* ]] && mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
            return
        fi
        if grep -qE -- " $previous (N|X|SHARE|SIZE|GLOB|SHAPE) " <<<"$help"; then
            return
        fi
    fi
    if [[ $current == -* ]]; then
        words=$(grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' <<<"$help" | grep -oE -- '-.*' | sort -u)
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
    if (( COMP_CWORD == 1 )); then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$commands" -- "$current")
    fi
    compopt -o filenames 2>/dev/null
}
complete -F _filterprune filterprune
