# Reads the Rust files that declare what kernels are called with, and prints what C++ must find: that its structs of the
# same names have the same fields, in the same places, and that its constants of the same names are equal.
function size(type,   of) {
    if (type ~ /^(u64|i64|f64)$/) return "8"
    if (type ~ /^\[.*; .*\]$/) {
        split(substr(type, 2, length(type) - 2), of, "; ")
        return of[2] " * " size(of[1])
    }
    return "sizeof(" type ")"
}
function field(text,   of) {
    sub(/^pub(\([a-z]*\))? /, "", text)
    split(text, of, ": ")
    printf "static_assert(offsetof(%s, %s) == %s);\n", name, of[1], at
    at = at " + " size(of[2])
}
function end() {
    printf "static_assert(sizeof(%s) == %s);\n", name, at
    name = ""
}
{ sub(/^ +/, "") }
/^const [A-Z]+: usize = [0-9]+;/ { sub(/:$/, "", $2); printf "static_assert(%s == %d);\n", $2, $5 }
/^arguments! \{$/ { in_list = 1; next }
/^}$/ && name == "" { in_list = 0 }
/^#\[repr\(C\)\]$/ { is_c = 1; next }
/^#\[/ { next }
(in_list && /^[A-Z][A-Za-z]* \{/) || (is_c && /^struct [A-Z][A-Za-z]* \{/) {
    sub(/^struct /, "")
    is_c = 0
    name = $1
    at = "0"
    sub(/^[A-Za-z]* \{ ?/, "")
    if (/}$/) {
        sub(/,? }$/, "")
        count = split($0, fields, ", ")
        for (i = 1; i <= count; i++) field(fields[i])
        end()
    }
    next
}
name != "" && /^}/ { end(); next }
name != "" && /: / { sub(/,$/, ""); field($0) }
