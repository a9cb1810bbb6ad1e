package azure_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openskr/openskr/policies/azure"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestGolden holds the translation of typical policies to reviewed Rego.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := azure.Parse(src)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got, golden := p.Rego().Source, strings.TrimSuffix(file, ".json")+".rego"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", golden, err, got)
		}
	}
}

// No text of a policy is anything but a quoted string of the Rego.
func TestTextStaysText(t *testing.T) {
	hostile := []string{
		`"`, `\`, `\"`, "`", "\n}\nallow := true\n#", "a\u2028b", "\u202e", "\x00", "\x7f", "é", "\U0001f600", `\u0022`, "%s%d", "#", "{{", "x\"] == 1; true", "\ufeff",
	}
	quoted := []string{
		`"\""`, `"\\"`, `"\\\""`, "\"`\"", `"\u000a}\u000aallow := true\u000a#"`, `"a\u2028b"`, `"\u202e"`, `"\u0000"`, `"\u007f"`, `"\u00e9"`, `"\ud83d\ude00"`, `"\\u0022"`, `"%s%d"`, `"#"`, `"{{"`, `"x\"] == 1; true"`, `"\ufeff"`,
	}
	for i, text := range hostile {
		l := azure.List{All: true, Conditions: []azure.Condition{{Claim: text, Operator: azure.Equals, Value: azure.Value{Text: text}}}}
		p := azure.Policy{Version: "1.0.0", Authorities: []azure.Authority{{URL: text, List: l}}}
		rego := string(p.Rego().Source)
		for _, want := range []string{`"/") == ` + quoted[i] + "\n", "\tinput.claims[" + quoted[i] + "] == " + quoted[i] + "\n"} {
			if !strings.Contains(rego, want) {
				t.Errorf("%q: no %s in\n%s", text, want, rego)
			}
		}
		if strings.Count(rego, "\n") != 10 || strings.Trim(rego, "\n\t !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
			t.Errorf("%q:\n%s", text, rego)
		}
	}
}

// The same policy gives the same Rego, and every condition has its row.
func TestRowsAreConditions(t *testing.T) {
	src := []byte(one(`{"claim":"a.b","exists":false},{"anyOf":[{"claim":"a.b","less":1},{"allOf":[{"claim":"c","notEquals":"x"},{"claim":"d.e","equals":true}]}]}`))
	p, err := azure.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Rego()
	for range 20 {
		if !bytes.Equal(p.Rego().Source, r.Source) {
			t.Fatal("two translations")
		}
	}
	lines := strings.Split(string(r.Source), "\n")
	want := map[string]string{
		"anyOf[0]":                            `authority is https://a|	trim_suffix(input.evidence.authority, "/") == "https://a"`,
		"anyOf[0].allOf[0]":                   "a.b exists false|	not present_1",
		"anyOf[0].allOf[1].anyOf[0]":          "a.b less 1|	number(claim_1) < 1",
		"anyOf[0].allOf[1].anyOf[1].allOf[0]": `c notEquals "x"|	differs(input.claims["c"], {"x"})`,
		"anyOf[0].allOf[1].anyOf[1].allOf[1]": `d.e equals true|	claim_2 in {"true", true}`,
	}
	if len(r.Rows) != len(want) {
		t.Errorf("%d rows", len(r.Rows))
	}
	for row, l := range r.Rows {
		if got := l.Text + "|" + lines[row-1]; got != want[l.Path] {
			t.Errorf("%s: %s", l.Path, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(one(leaf)))
	f.Add([]byte(nested(4)))
	f.Add([]byte(one(`{"claim":"a.b","notEquals":-0.50},{"Claim":"\ud83d\ude00","lessOrEquals":"3"},{"claim":"x","exists":false}`)))
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := azure.Parse(src)
		if (p == nil) == (err == nil) {
			t.Fatal("neither or both")
		}
		if p == nil {
			return
		}
		r := p.Rego()
		lines := strings.Split(string(r.Source), "\n")
		n := len(p.Authorities)
		p.Each(func(*azure.Condition) { n++ })
		if len(r.Rows) != n {
			t.Errorf("%d conditions in %d rows", n, len(r.Rows))
		}
		for row, l := range r.Rows {
			if row < 1 || row > len(lines) || !strings.HasPrefix(lines[row-1], "\t") || l.Offset >= len(src) {
				t.Errorf("row %d: %+v", row, l)
			}
		}
	})
}
