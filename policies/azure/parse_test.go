package azure_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/openskr/openskr/policies/azure"
)

const leaf = `{"claim":"a","equals":"b"}`

func one(conditions string) string {
	return `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[` + conditions + `]}]}`
}

// nested has n levels of lists, the outermost included.
func nested(n int) string {
	return one(strings.Repeat(`{"anyOf":[`, n-2) + leaf + strings.Repeat(`]}`, n-2))
}

// TestRefused is RP-23 and RP-24 at upload.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"nothing", ``, "not one JSON document"},
		{"not JSON", `version: 1.0.0`, "not one JSON document"},
		{"array", `[` + one(leaf) + `]`, "must be an object"},
		{"null", `null`, "must be an object"},
		{"two documents", one(leaf) + one(leaf), "something follows"},
		{"trailing comma", strings.Replace(one(leaf), `"b"}`, `"b"},`, 1), "not one JSON document"},
		{"comment", one(leaf) + "// x", "something follows"},
		{"BOM", "\ufeff" + one(leaf), "not one JSON document"},
		{"invalid UTF-8", one(`{"claim":"a","equals":"` + "\xff" + `"}`), "not one JSON document"},
		{"lone surrogate", one(`{"claim":"a","equals":"\ud800"}`), "not one JSON document"},
		{"too large", one(`{"claim":"a","equals":"` + strings.Repeat("x", azure.MaxSize) + `"}`), "bytes of policy"},
		{"cut off", one(leaf)[:40], "not one JSON document"},

		{"no version", `{"anyOf":[{"authority":"https://a","allOf":[` + leaf + `]}]}`, `no "version"`},
		{"later version", strings.Replace(one(leaf), "1.0.0", "2.0.0", 1), "is not known"},
		{"version that is none", strings.Replace(one(leaf), "1.0.0", "1.x", 1), "is not known"},
		{"empty version", strings.Replace(one(leaf), "1.0.0", "", 1), "is not known"},
		{"version as number", strings.Replace(one(leaf), `"1.0.0"`, "1", 1), "must be a string"},

		{"no authorities", `{"version":"1.0.0"}`, "no anyOf"},
		{"empty anyOf", `{"version":"1.0.0","anyOf":[]}`, "anyOf is empty"},
		{"empty allOf", one(``), "allOf is empty"},
		{"empty nested", one(`{"anyOf":[]}`), "anyOf is empty"},
		{"both lists", `{"version":"1.0.0","anyOf":[{"authority":"https://a","allOf":[` + leaf + `]}],"allOf":[{"authority":"https://a","allOf":[` + leaf + `]}]}`, "both anyOf and allOf"},
		{"both lists of an authority", `{"version":"1.0.0","anyOf":[{"authority":"https://a","anyOf":[` + leaf + `],"allOf":[` + leaf + `]}]}`, "both anyOf and allOf"},
		{"both lists nested", one(`{"anyOf":[` + leaf + `],"allOf":[` + leaf + `]}`), "two of operators"},
		{"list that is none", `{"version":"1.0.0","anyOf":{}}`, "must be an array"},
		{"list of text", `{"version":"1.0.0","anyOf":["x"]}`, "must be an object"},
		{"no authority", `{"version":"1.0.0","anyOf":[{"allOf":[` + leaf + `]}]}`, `no "authority"`},
		{"empty authority", strings.Replace(one(leaf), "https://a", "", 1), "authority must be"},
		{"slash alone", strings.Replace(one(leaf), "https://a", "/", 1), "authority must be"},
		{"long authority", strings.Replace(one(leaf), "https://a", "https://"+strings.Repeat("a", 256), 1), "authority must be"},
		{"authority as list", strings.Replace(one(leaf), `"https://a"`, `["https://a"]`, 1), "must be a string"},
		{"authority without conditions", `{"version":"1.0.0","anyOf":[{"authority":"https://a"}]}`, "neither anyOf nor allOf"},

		{"duplicate", one(`{"claim":"a","claim":"b","equals":"b"}`), "duplicate"},
		{"duplicate, other case", one(`{"claim":"a","Claim":"b","equals":"b"}`), "two members claim"},
		{"duplicate, escaped", one(`{"claim":"a","cl\u0061im":"b","equals":"b"}`), "duplicate"},
		{"duplicate list", one(`{"anyOf":[` + leaf + `],"anyof":[` + leaf + `]}`), "two members anyOf"},
		{"duplicate version", strings.Replace(one(leaf), `{"version`, `{"VERSION":"1.0.0","version`, 1), "two members version"},
		{"unknown member", strings.Replace(one(leaf), `"version"`, `"x":1,"version"`, 1), "no member"},
		{"unknown member of authority", strings.Replace(one(leaf), `"authority"`, `"x":1,"authority"`, 1), "no member"},
		{"unknown operator", one(`{"claim":"a","matches":"b"}`), "no member"},
		{"almost ours: long s", one(`{"claim":"a","equal` + "\u017f" + `":"b"}`), "no member"},
		{"almost ours: Kelvin", one(`{"claim":"a","equals":"b","` + "\u212a" + `":1}`), "no member"},
		{"almost ours: space", one(`{"claim ":"a","equals":"b"}`), "no member"},
		{"member of another place", one(`{"claim":"a","equals":"b","version":"1.0.0"}`), "no member"},
		{"preview form", one(`{"claim":"a","condition":"equals","value":"true"}`), "2021 preview"},

		{"two operators", one(`{"claim":"a","equals":"b","less":1}`), "two of operators"},
		{"claim and list", one(`{"claim":"a","anyOf":[` + leaf + `]}`), "both a claim and a list"},
		{"no operator", one(`{"claim":"a"}`), "no operator"},
		{"no claim", one(`{"equals":"a"}`), "no claim"},
		{"empty condition", one(`{}`), "no operator"},
		{"claim as number", one(`{"claim":1,"equals":"a"}`), "must be a string"},
		{"empty claim", one(`{"claim":"","equals":"a"}`), "empty part"},
		{"empty part", one(`{"claim":"a..b","equals":"a"}`), "empty part"},
		{"long claim", one(`{"claim":"` + strings.Repeat("a", 257) + `","equals":"a"}`), "longer than"},
		{"deep claim", one(`{"claim":"a` + strings.Repeat(".a", 16) + `","equals":"a"}`), "longer than"},

		{"equals null", one(`{"claim":"a","equals":null}`), "not a JSON null"},
		{"equals list", one(`{"claim":"a","equals":["b"]}`), "not a JSON array"},
		{"equals object", one(`{"claim":"a","equals":{"b":1}}`), "not a JSON object"},
		{"exponent", one(`{"claim":"a","less":1e9999}`), "without exponent"},
		{"long number", one(`{"claim":"a","less":` + strings.Repeat("1", 41) + `}`), "at most 40"},
		{"exists as text", one(`{"claim":"a","exists":"true"}`), "exists is true or false"},
		{"exists as number", one(`{"claim":"a","exists":1}`), "exists is true or false"},

		{"11 levels", nested(11), "nested deeper than 10"},
		{"very deep", nested(300), "nested deeper than 10"},
		{"65 conditions", one(strings.Repeat(leaf+",", 64) + leaf), "more than 64"},
	} {
		p, err := azure.Parse([]byte(tt.src))
		var e *azure.Error
		if p != nil || !errors.As(err, &e) || !strings.Contains(e.Message, tt.want) || e.Offset < 0 || e.Offset > len(tt.src) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestTaken(t *testing.T) {
	for _, tt := range []struct{ name, src, remark string }{
		{"plain", one(leaf), ""},
		{"10 levels", nested(10), ""},
		{"64 conditions", one(strings.Repeat(leaf+",", 63) + leaf), ""},
		{"other case", strings.NewReplacer("version", "Version", "anyOf", "ANYOF", "allOf", "allof", "claim", "Claim").Replace(one(leaf)), ""},
		{"white space", " \n" + one(leaf) + "\t\r\n", ""},
		{"version of a sample of Microsoft's", strings.Replace(one(leaf), "1.0.0", "0.2", 1), "read as 1.0.0"},
		{"outermost allOf", strings.Replace(one(leaf), "anyOf", "allOf", 1), "outermost list is allOf"},
		{"authority that is no URL", strings.Replace(one(leaf), "https://a", "ak-ca", 1), "no https URL"},
		{"capitals in an authority", strings.Replace(one(leaf), "https://a", "https://A", 1), "compared exactly"},
		{"order of text", one(`{"claim":"a","less":"x"}`), "never holds"},
		{"order of an exponent", one(`{"claim":"a","less":"1e2"}`), "never holds"},
		{"order of a numeric text", one(`{"claim":"a","less":"-0.5"}`), ""},
	} {
		p, err := azure.Parse([]byte(tt.src))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if (tt.remark == "") != (len(p.Remarks) == 0) || tt.remark != "" && !strings.Contains(p.Remarks[0].Message, tt.remark) {
			t.Errorf("%s: %+v", tt.name, p.Remarks)
		}
	}
}

func TestOffsets(t *testing.T) {
	src := "{\n \"version\": \"1.0.0\",\n \"anyOf\": [ { \"authority\" : \"https://a\", \"allOf\": [\n  " + leaf + " ,\n  { \"claim\":\"a\", \"nope\": 1 } ] } ]\n}"
	_, err := azure.Parse([]byte(src))
	var e *azure.Error
	if !errors.As(err, &e) || !strings.HasPrefix(src[e.Offset:], `"nope"`) {
		t.Errorf("%v", err)
	}
	p, err := azure.Parse([]byte(strings.Replace(src, `"nope"`, `"less"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	p.Each(func(c *azure.Condition) {
		if src[c.Offset] != '{' || !strings.Contains(src[c.Offset:c.Offset+12], "claim") {
			t.Errorf("%.20s", src[c.Offset:])
		}
	})
}
