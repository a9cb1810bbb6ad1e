package strict_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/openskr/openskr/internal/strict"
)

type document struct {
	Name string            `json:"name"`
	Tags map[string]string `json:"tags,omitempty"`
}

func TestUnmarshal(t *testing.T) {
	for in, ok := range map[string]bool{
		`{"name":"a"}`:                             true,
		"\t{ \"name\" : \"a\" }\n":                 true,
		`{"name":"a","tags":{"k":"v"}}`:            true,
		`{}`:                                       true,
		`{"Name":"a"}`:                             false,
		`{"na_me":"a"}`:                            false,
		`{"name":"a","name":"b"}`:                  false,
		`{"name":"a","n\u0061me":"b"}`:             false,
		`{"tags":{"k":"v","k":"w"}}`:               false,
		`{"name":"a","x":1}`:                       false,
		`{"name":1}`:                               false,
		`{"name":"a"}{"name":"b"}`:                 false,
		`{"name":"a"} x`:                           false,
		`{"name":"a",}`:                            false,
		`{'name':'a'}`:                             false,
		`{"name":"` + "\xff" + `"}`:                false,
		`{"name":"\ud800"}`:                        false,
		`{"name":"a"} // text`:                     false,
		"\ufeff" + `{"name":"a"}`:                  false,
		``:                                         false,
		strings.Repeat(`{"tags":`, 40) + `1`:       false,
		strings.Repeat("[", 1<<12):                 false,
		`{"tags":` + strings.Repeat("[", 40) + `}`: false,
	} {
		var d document
		if err := strict.Unmarshal([]byte(in), 1<<16, &d); (err == nil) != ok {
			t.Errorf("%.60q: %v", in, err)
		}
	}
}

// TestUnmarshalKnown: what is unknown is ignored and bounded all the same.
func TestUnmarshalKnown(t *testing.T) {
	for in, ok := range map[string]bool{
		`{"name":"a","x":{"y":[1,null]}}`:                       true,
		`{"name":"a","Name":"b"}`:                               true, // another name
		`{"name":"a","name":"b"}`:                               false,
		`{"name":"a","x":1,"x":1}`:                              false,
		`{"name":"a","x":{"y":1,"y":1}}`:                        false,
		`{"name":"a","x":` + strings.Repeat("[", 40) + `}`:      false,
		`{"name":"a","x":"` + "\xff" + `"}`:                     false,
		`{"name":"a","x":1}{}`:                                  false,
		`{"name":"a","x":"` + strings.Repeat("x", 1<<16) + `"}`: false,
	} {
		var d document
		if err := strict.UnmarshalKnown([]byte(in), 1<<16, &d); (err == nil) != ok || ok && d.Name != "a" {
			t.Errorf("%.60q: %+v, %v", in, d, err)
		}
	}
}

func TestDepth(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	var v any
	if err := strict.Unmarshal(deep(strict.MaxDepth), 1<<16, &v); err != nil {
		t.Errorf("depth %d: %v", strict.MaxDepth, err)
	}
	if err := strict.Unmarshal(deep(strict.MaxDepth+1), 1<<16, &v); err == nil {
		t.Errorf("depth %d taken", strict.MaxDepth+1)
	}
}

func TestSize(t *testing.T) {
	var d document
	in := []byte(`{"name":"a"}`)
	if err := strict.Unmarshal(in, len(in), &d); err != nil {
		t.Error(err)
	}
	if err := strict.Unmarshal(in, len(in)-1, &d); !errors.Is(err, strict.ErrTooLarge) {
		t.Error(err)
	}
}

func TestMarshalIsDeterministic(t *testing.T) {
	d := document{Name: "a", Tags: map[string]string{"z": "1", "a": "2", "m": "3"}}
	for range 32 {
		b, err := strict.Marshal(d)
		if err != nil || string(b) != `{"name":"a","tags":{"a":"2","m":"3","z":"1"}}` {
			t.Fatalf("%s, %v", b, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range []string{`{"name":"a"}`, `{"name":"a","tags":{"k":"v"}}`, `{"name":"a","name":"b"}`, `[[[[`, `{"name":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, known document
		kerr := strict.UnmarshalKnown(b, 1<<16, &known)
		if err := strict.Unmarshal(b, 1<<16, &d); err != nil {
			return
		}
		if kerr != nil || !reflect.DeepEqual(known, d) {
			t.Errorf("%q is %+v, and with unknown members ignored %+v, %v", b, d, known, kerr)
		}
		again, err := strict.Marshal(d)
		if err != nil {
			t.Fatalf("read %q, cannot write it: %v", b, err)
		}
		var d2 document
		if err := strict.Unmarshal(again, 1<<20, &d2); err != nil || d2.Name != d.Name || len(d2.Tags) != len(d.Tags) {
			t.Errorf("%q has two readings: %v", b, err)
		}
	})
}

func TestDepthKnowsStrings(t *testing.T) {
	deep := strings.Repeat("[", strict.MaxDepth) + strings.Repeat("]", strict.MaxDepth)
	for text, ok := range map[string]bool{
		deep: true, "[" + deep + "]": false,
		`["` + strings.Repeat("[", 99) + `"]`:        true,
		`["\"` + strings.Repeat("[", 99) + `"]`:      true,
		`["\\",` + deep + `]`:                        false,
		`["\\\"",` + strings.Repeat("[", 99) + `"]`:  false,
		`{"a":"x` + strings.Repeat("{", 99) + `\\"}`: true,
	} {
		var v any
		if err := strict.Unmarshal([]byte(text), 1<<10, &v); (err == nil) != ok {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}
