package azure

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Rego is what a policy becomes.
type Rego struct {
	Source []byte
	Rows   map[int]Line // the conditions of the JSON, by the row of the Rego that holds them
}

// Line is one condition in the words of the JSON.
type Line struct {
	Path   string // where it stands: anyOf[0].allOf[1]
	Text   string // x-ms-attestation-type equals "sevsnpvm"
	Claim  string // whose value decides it; empty: the authority
	Offset int    // of the condition in the JSON
}

// Rego translates p. The same policy gives the same bytes.
func (p *Policy) Rego() Rego {
	w := &writer{rows: map[int]Line{}, claims: map[string]int{}, helpers: map[string]bool{}}
	w.line("# what a release policy in Azure's JSON grammar means")
	w.line("package release")
	w.line("")
	w.line("default allow := false")
	top := "anyOf"
	if p.All {
		top = "allOf"
		w.line("")
		w.line("allow if {")
		for i := range p.Authorities {
			w.line("\tauthority_%d", i+1)
		}
		w.line("}")
	}
	for i, a := range p.Authorities {
		name := "allow"
		if p.All {
			name = fmt.Sprintf("authority_%d", i+1)
		}
		path := fmt.Sprintf("%s[%d]", top, i)
		w.line("")
		w.line("# %s", path)
		w.line("%s if {", name)
		w.note(Line{Path: path, Text: "authority is " + a.URL, Offset: a.at})
		w.line("\ttrim_suffix(input.evidence.authority, \"/\") == %s", quote(a.URL))
		if a.All {
			w.conditions(a.Conditions, path+".allOf")
		} else {
			w.line("\t%s", w.group(&a.List, path+".anyOf"))
		}
		w.line("}")
	}
	w.rest()
	return Rego{Source: []byte(w.text.String()), Rows: w.rows}
}

type writer struct {
	text    strings.Builder
	row     int // written so far
	rows    map[int]Line
	groups  []group // not yet written
	named   int     // groups named so far
	claims  map[string]int
	absents []string // claims whose absence is asked for
	helpers map[string]bool
}

// group is a nested list that becomes a rule of its own.
type group struct {
	*List
	name, path string
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(&w.text, format+"\n", args...)
	w.row++
}

// note says that the next line is a condition of the JSON.
func (w *writer) note(l Line) { w.rows[w.row+1] = l }

func (w *writer) group(l *List, path string) string {
	w.named++
	name := fmt.Sprintf("group_%d", w.named)
	w.groups = append(w.groups, group{l, name, path})
	return name
}

// conditions writes a list as the lines of one body.
func (w *writer) conditions(cs []Condition, path string) {
	for i := range cs {
		w.condition(&cs[i], fmt.Sprintf("%s[%d]", path, i))
	}
}

func (w *writer) condition(c *Condition, path string) {
	switch {
	case c.List == nil:
		w.note(Line{Path: path, Text: fmt.Sprintf("%s %s %s", c.Claim, c.Operator, c.Value.raw), Claim: c.Claim, Offset: c.Offset})
		w.line("\t%s", w.comparison(c))
	case c.List.All:
		w.line("\t%s", w.group(c.List, path+".allOf"))
	default:
		w.line("\t%s", w.group(c.List, path+".anyOf"))
	}
}

// rest writes the rules that the others ask for.
func (w *writer) rest() {
	for len(w.groups) > 0 {
		g := w.groups[0]
		w.groups = w.groups[1:]
		w.line("")
		w.line("# %s", g.path)
		if g.All {
			w.line("%s if {", g.name)
			w.conditions(g.Conditions, g.path)
			w.line("}")
			continue
		}
		for i := range g.Conditions {
			w.line("%s if {", g.name)
			w.condition(&g.Conditions[i], fmt.Sprintf("%s[%d]", g.path, i))
			w.line("}")
		}
	}
	for i, name := range w.absents {
		w.line("")
		w.line("present_%d if present(%s)", i+1, w.claim(name))
	}
	names := slices.SortedFunc(maps.Keys(w.claims), func(a, b string) int { return w.claims[a] - w.claims[b] })
	for _, name := range names {
		w.line("")
		w.line("# a claim of this name, or else the member of objects at this path")
		w.line("claim_%d := v if {", w.claims[name])
		w.line("\tv := input.claims[%s]", quote(name))
		w.line("} else := v if {")
		w.line("\tv := input.claims%s", member(strings.Split(name, ".")...))
		w.line("}")
	}
	for _, name := range slices.Sorted(maps.Keys(w.helpers)) {
		w.line("")
		for line := range strings.Lines(helpers[name]) {
			w.line("%s", strings.TrimSuffix(line, "\n"))
		}
	}
}

var helpers = map[string]string{
	"differs": `# another scalar than these; a missing claim differs from nothing
differs(x, values) if {
	not type_name(x) in {"array", "null", "object"}
	not x in values
}`,
	"number": `number(x) := x if is_number(x)

number(x) := to_number(x) if {
	is_string(x)
	count(x) <= 40
	regex.match("^-?(0|[1-9][0-9]*)([.][0-9]+)?$", x)
}`,
	"present": `present(_) := true`,
}

// call marks a helper as used.
func (w *writer) call(name string) string {
	w.helpers[name] = true
	return name
}

// claim gives the term for a claim's value, which is undefined when it is missing.
func (w *writer) claim(name string) string {
	if !strings.Contains(name, ".") {
		return "input.claims" + member(name)
	}
	if w.claims[name] == 0 {
		w.claims[name] = len(w.claims) + 1
	}
	return fmt.Sprintf("claim_%d", w.claims[name])
}

func member(path ...string) string {
	var b strings.Builder
	for _, part := range path {
		b.WriteString("[" + quote(part) + "]")
	}
	return b.String()
}

func (w *writer) comparison(c *Condition) string {
	claim := w.claim(c.Claim)
	switch c.Operator {
	case Exists:
		if w.call("present"); c.Value.Text == "true" {
			return fmt.Sprintf("present(%s)", claim)
		}
		i := slices.Index(w.absents, c.Claim)
		if i < 0 {
			i, w.absents = len(w.absents), append(w.absents, c.Claim)
		}
		return fmt.Sprintf("not present_%d", i+1)
	case Equals:
		if same := equal(c.Value.Text); len(same) > 1 {
			return fmt.Sprintf("%s in {%s}", claim, strings.Join(same, ", "))
		}
		return fmt.Sprintf("%s == %s", claim, quote(c.Value.Text))
	case NotEquals:
		return fmt.Sprintf("%s(%s, {%s})", w.call("differs"), claim, strings.Join(equal(c.Value.Text), ", "))
	}
	if !ordered(c.Value.Text) {
		return "false" // no number on one side: never
	}
	sign := map[string]string{Less: "<", LessOrEquals: "<=", Greater: ">", GreaterOrEquals: ">="}[c.Operator]
	return fmt.Sprintf("%s(%s) %s %s", w.call("number"), claim, sign, canonical(c.Value.Text))
}

// equal gives every term that equals text: itself, and the boolean or integer whose
// canonical text it is.
func equal(text string) []string {
	same := []string{quote(text)}
	if text == "true" || text == "false" || integer(text) {
		same = append(same, text)
	}
	return same
}

// quote gives s as a string of Rego in ASCII, so that the reader sees every
// character and none ends the string. It is JSON's form: \uXXXX, in pairs above U+FFFF.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case ' ' <= c && c <= '~':
			b.WriteRune(c)
		default:
			for _, u := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		}
	}
	return b.String() + `"`
}
