package schema_test

import (
	"reflect"
	"testing"

	"github.com/openskr/openskr/attest/schema"
)

func TestUnion(t *testing.T) {
	a := schema.Object(map[string]any{"x": schema.Text(), "deep": schema.Object(map[string]any{"p": schema.Int()})})
	b := schema.Object(map[string]any{"x": schema.Text(), "deep": schema.Object(map[string]any{"q": schema.Bool()}), "free": schema.Open()})
	want := schema.Object(map[string]any{
		"x": schema.Text(), "free": schema.Open(),
		"deep": schema.Object(map[string]any{"p": schema.Int(), "q": schema.Bool()}),
	})
	if got := schema.Union(a, b); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if len(a["properties"].(map[string]any)["deep"].(map[string]any)["properties"].(map[string]any)) != 1 {
		t.Error("a part was changed")
	}
}

func TestUnionRefusesTwoMeanings(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("one name for two kinds of claims")
		}
	}()
	schema.Union(schema.Object(map[string]any{"x": schema.Text()}), schema.Object(map[string]any{"x": schema.Int()}))
}
