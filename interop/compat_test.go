package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/openskr/openskr/interop/compat"
)

const compatibilityPage = "../docs/compatibility.md"

// compatible holds the notes of a whole run against the table, and the page
// against the table.
func compatible() error {
	notes, err := compat.Read(suite.notes)
	if err != nil {
		return err
	}
	wrong := compat.Check(notes)
	if len(wrong) > 0 {
		return fmt.Errorf("the compatibility table (compat/table.go) is not what the tests saw:\n%s", strings.Join(wrong, "\n"))
	}
	versions, err := versions()
	if err != nil {
		return err
	}
	page := compat.Page(versions)
	if *update {
		return os.WriteFile(compatibilityPage, []byte(page), 0o644)
	}
	old, err := os.ReadFile(compatibilityPage)
	if err != nil {
		return err
	}
	if string(old) != page {
		return errors.New("docs/compatibility.md is not what the table says; write it again with `go test -update`")
	}
	return nil
}

// versions are the clients with the versions that are pinned here.
func versions() ([]compat.Version, error) {
	const pip = `(?m)^(%s)==(\S+)$`
	golang, err1 := pinned("go.mod", `(?m)^\t\S+/(azkeys|azsecrets|azidentity) v(\S+)`)
	python, err2 := pinned("python/requirements.txt", fmt.Sprintf(pip, "azure-identity|azure-keyvault-(?:keys|secrets|administration)"))
	cli, err3 := pinned("cli/requirements.txt", fmt.Sprintf(pip, "azure-cli"))
	var lock struct {
		Dependencies map[string]string `json:"dependencies"`
	}
	b, err4 := os.ReadFile("js/package.json")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &lock); err != nil {
		return nil, err
	}
	var js []string
	for _, name := range []string{"@azure/identity", "@azure/keyvault-keys", "@azure/keyvault-secrets"} {
		js = append(js, name+" "+lock.Dependencies[name])
	}
	const fromSpecification = "a client of our own, strict where Microsoft's is (`interop/skr`)"
	return []compat.Version{
		{Client: compat.Go, Version: golang, How: "`NewClient(url, credential, nil)`; the CA by `SSL_CERT_FILE`"},
		{Client: compat.JS, Version: strings.Join(js, ", "), How: "the CA by `NODE_EXTRA_CA_CERTS`"},
		{Client: compat.Python, Version: python, How: "the CA by `REQUESTS_CA_BUNDLE`"},
		{Client: compat.CLI, Version: cli, How: "[azure-cli.md](azure-cli.md)"},
		{Client: compat.Sidecar, Version: "requests of API 7.4 and 2020-10-01", How: fromSpecification},
		{Client: compat.AttestSKR, Version: "requests of API 7.3 and 2020-10-01", How: fromSpecification},
	}, nil
}

// pinned lists what a file pins, as "name version, …".
func pinned(path, pattern string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(b), -1) {
		out = append(out, m[1]+" "+m[2])
	}
	if len(out) == 0 {
		return "", fmt.Errorf("%s pins nothing that matches %s", path, pattern)
	}
	return strings.Join(out, ", "), nil
}
