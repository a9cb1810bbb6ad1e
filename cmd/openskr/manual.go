package main

import (
	_ "embed"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The manual of the configuration is the declaration of Config itself, so that
// the two cannot differ.
//
//go:embed config.go
var configSource string

// configManual renders the comments of Config's fields.
func configManual() (string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", configSource, parser.ParseComments)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("Checks a configuration as serve would read it. Members, all optional but kek:\n")
	ast.Inspect(f, func(n ast.Node) bool {
		t, ok := n.(*ast.TypeSpec)
		if !ok || t.Name.Name != "Config" {
			return true
		}
		for _, field := range t.Type.(*ast.StructType).Fields.List {
			if field.Tag == nil {
				continue
			}
			name := reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("yaml")
			out.WriteString("\n  " + name + "\n")
			for line := range strings.Lines(field.Doc.Text()) {
				out.WriteString("      " + line)
			}
		}
		return false
	})
	return out.String(), nil
}

// yaml is c as a configuration file.
func (c *Config) yaml() ([]byte, error) { return yaml.Marshal(c) }
