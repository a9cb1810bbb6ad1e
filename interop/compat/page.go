package compat

import (
	"fmt"
	"slices"
	"strings"
)

// Check says where the notes of a run do not bear out the table: a cell that no
// test filled, one that a test saw otherwise, a note on what a client is said not to have.
func Check(notes Notes) []string {
	var out []string
	for _, g := range Operations() {
		for _, r := range g.Rows {
			for _, c := range Clients() {
				want, seen := r.expected(c), notes.of(c, r.Name)
				if want == "" && len(seen) > 0 || want != "" && !slices.Equal(seen, []Outcome{want}) {
					out = append(out, fmt.Sprintf("%s, %s: the table says %q, the tests saw %q", c, r.Name, want, seen))
				}
			}
		}
	}
	return out
}

// expected is the outcome that the table states; "" when the client has no such call.
func (r *Row) expected(c Client) Outcome {
	if cell, ok := r.Cells[c]; ok {
		return cell.Outcome
	}
	return Works
}

// of lists the outcomes noted for one cell.
func (n Notes) of(c Client, operation string) []Outcome {
	var out []Outcome
	for _, o := range []Outcome{Works, Differs, Refused} {
		if n[Note{c, operation, o}] {
			out = append(out, o)
		}
	}
	return out
}

const head = `# Compatibility

Which operation works with which of Azure's clients, as their makers publish them, unchanged. ` + "`make interop`" + ` tries
every cell against a broker on SQLite with TLS, and fails when a cell says something else than the tests saw.

- **works**: as at Azure.
- **differs**, **refused**: on purpose; the notes below each table say why.
- –: the client has no such call.

| client | version | how |
|---|---|---|
%s
`

const headers = "\n## Headers\n\n" +
	"`x-ms-request-id` and `x-ms-client-request-id` are there as at Azure. `x-ms-keyvault-region`, `x-ms-keyvault-service-version`\n" +
	"and `x-ms-keyvault-network-info` are not: they speak of Azure's regions and machines, and clients log them at most.\n"

// Version is a client with the version that was tried.
type Version struct {
	Client       Client
	Version, How string
}

// Page is docs/compatibility.md. It is made of the table alone; [Check] binds
// the table to the notes.
func Page(versions []Version) string {
	var b strings.Builder
	rows := make([]string, len(versions))
	for i, v := range versions {
		rows[i] = fmt.Sprintf("| %s | %s | %s |", v.Client, v.Version, v.How)
	}
	fmt.Fprintf(&b, head, strings.Join(rows, "\n"))
	for _, g := range Operations() {
		g.write(&b)
	}
	b.WriteString(headers)
	return b.String()
}

func (g *Group) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n", g.Title)
	if g.Intro != "" {
		fmt.Fprintf(b, "%s\n\n", g.Intro)
	}
	b.WriteString("| operation |")
	for _, c := range Clients() {
		fmt.Fprintf(b, " %s |", c)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Clients())) + "\n")
	var whys []string
	for _, r := range g.Rows {
		fmt.Fprintf(b, "| %s |", r.Name)
		for _, c := range Clients() {
			fmt.Fprintf(b, " %s |", r.text(c, &whys))
		}
		b.WriteString("\n")
	}
	for i, why := range whys {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(b, "%d. %s\n", i+1, why)
	}
}

// text is a cell of the page; its reason gets the next number.
func (r *Row) text(c Client, whys *[]string) string {
	cell, deviates := r.Cells[c]
	switch {
	case !deviates:
		return string(Works)
	case cell.Outcome == "":
		return "–"
	}
	i := slices.Index(*whys, cell.Why)
	if i < 0 {
		*whys = append(*whys, cell.Why)
		i = len(*whys) - 1
	}
	return fmt.Sprintf("%s (%d)", cell.Outcome, i+1)
}
