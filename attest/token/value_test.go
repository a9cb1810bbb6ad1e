package token

import "testing"

func TestParse(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"a":{"b":1},"c":[{"b":1},{"b":2}]}`: true, `{"a":"b","A":"c"}`: true,
		`null`: false, `[]`: false, `"a"`: false, ``: false, `{"a":1}{}`: false, `{"a":1} x`: false, `{"a":}`: false,
		`{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false,
		`{"a":{"b":1,"b":2}}`: false, `{"a":[{"b":1,"b":2}]}`: false, `{"a":{"b":{"c":1,"\u0063":2}}}`: false,
		"{\"a\":\"\xff\"}": false, `{"a":"\ud800"}`: false, `{"a":{"b":"` + "\xff" + `"}}`: false, `{"a":[1,]}`: false, `{"a":01}`: false,
	} {
		if _, err := parse([]byte(text), MaxToken); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parse([]byte(`{"a":1}`), 6); err == nil {
		t.Error("longer than the limit")
	}
}
