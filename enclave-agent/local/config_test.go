package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

const whole = `{"v":1,
"socket":{"path":"/run/openskr/workload.sock","group":"0"},
"tcp":{"address":"127.0.0.1:8080"},
"callers":[
 {"name":"web","user":"33","group":"33","cgroup":"/system.slice/web.service","keys":["https://vault.example/keys/disk"],"evidence":true,"keyprovider":true},
 {"name":"old","token_file":"/etc/openskr/old.token","keys":["https://vault.example:8443/keys/a/0123456789abcdef0123456789abcdef"]},
 {"name":"app","identity":{"address":"127.0.0.1:40342","environment":"/run/openskr/app.env","group":"0","client_id":"app","metadata":true},"vaults":["https://vault.example"]}],
"keyprovider":{"address":"unix:/run/openskr/keyprovider.sock","group":"0","keys":["https://vault.example/keys/image"]}}`

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(whole))
	if err != nil || len(c.Callers) != 3 || c.KeyProvider.SocketPath() != "/run/openskr/keyprovider.sock" {
		t.Fatalf("%+v, %v", c, err)
	}
	for _, good := range [][2]string{
		{`"path":"/run/openskr/workload.sock",`, ``},
		{`"127.0.0.1:8080"`, `"[::1]:8080"`},
		{`web.service"`, `web/"`},
		{`"address":"127.0.0.1:40342","environment":"/run/openskr/app.env"`, `"address":"169.254.169.254:80"`},
		{`"address":"unix:/run/openskr/keyprovider.sock","group":"0"`, `"address":"127.0.0.1:50000"`},
	} {
		in := strings.Replace(whole, good[0], good[1], 1)
		if strings.Contains(good[1], ":50000") {
			in = strings.Replace(in, `,"keyprovider":true`, ``, 1)
		}
		if _, err := ParseConfig([]byte(in)); err != nil || in == whole {
			t.Errorf("%s: %v", good[1], err)
		}
	}
	for name, bad := range map[string][2]string{
		"another version":       {`"v":1`, `"v":2`},
		"unknown member":        {`"v":1`, `"v":1,"open":true`},
		"member twice":          {`"v":1`, `"v":1,"v":1`},
		"relative socket":       {`/run/openskr/workload.sock`, `workload.sock`},
		"socket through ..":     {`/run/openskr/workload.sock`, `/run/../tmp/s`},
		"every interface":       {`"127.0.0.1:8080"`, `"0.0.0.0:8080"`},
		"an interface":          {`"127.0.0.1:8080"`, `"10.0.0.1:8080"`},
		"a name":                {`"127.0.0.1:8080"`, `"localhost:8080"`},
		"mapped":                {`"127.0.0.1:8080"`, `"[::ffff:127.0.0.1]:8080"`},
		"nobody":                {`"user":"33","group":"33",`, ``},
		"everybody in a cgroup": {`"name":"old"`, `"name":"old","cgroup":"/x"`},
		"all cgroups":           {`"/system.slice/web.service"`, `"/"`},
		"token without tcp":     {`"tcp":{"address":"127.0.0.1:8080"},`, ``},
		"no name":               {`"name":"web"`, `"name":""`},
		"name with a newline":   {`"name":"web"`, `"name":"w\nb"`},
		"a name twice":          {`"name":"old"`, `"name":"web"`},
		"key of http":           {`https://vault.example/keys/disk`, `http://vault.example/keys/disk`},
		"key of anything":       {`https://vault.example/keys/disk`, `https://vault.example/keys/`},
		"key in capitals":       {`https://vault.example/keys/disk`, `https://Vault.example/keys/disk`},
		"vault with a path":     {`["https://vault.example"]`, `["https://vault.example/"]`},
		"vault of http":         {`["https://vault.example"]`, `["http://vault.example"]`},
		"vault with a user":     {`["https://vault.example"]`, `["https://u@vault.example"]`},
		"identity without any":  {`"vaults":["https://vault.example"]`, `"vaults":[]`},
		"vaults without one":    {`"name":"web"`, `"name":"web","vaults":["https://vault.example"]`},
		"metadata, not said":    {`"address":"127.0.0.1:40342","environment":"/run/openskr/app.env","group":"0","client_id":"app","metadata":true`, `"address":"169.254.169.254:80"`},
		"metadata elsewhere":    {`"127.0.0.1:40342"`, `"169.254.169.254:8080"`},
		"no environment":        {`"environment":"/run/openskr/app.env",`, ``},
		"identity outside":      {`"127.0.0.1:40342"`, `"0.0.0.0:40342"`},
		"relative environment":  {`/run/openskr/app.env`, `app.env`},
		"provider outside":      {`unix:/run/openskr/keyprovider.sock`, `0.0.0.0:50000`},
		"relative provider":     {`unix:/run/openskr/keyprovider.sock`, `unix:k.sock`},
		"provider on tcp, told": {`unix:/run/openskr/keyprovider.sock`, `127.0.0.1:50000`},
		"provider of any key":   {`https://vault.example/keys/image`, `https://vault.example/`},
	} {
		in := strings.Replace(whole, bad[0], bad[1], 1)
		if _, err := ParseConfig([]byte(in)); in == whole || !errors.Is(err, agent.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseConfig([]byte(`{"v":1,"callers":[]}`)); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("serves nobody: %v", err)
	}
}

// AG-04: what may be contacted comes from files that only root, or this user, can write.
func TestConfigIsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "workload.json")
	if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o664, 0o646} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chmod(path, 0o644), os.Chown(path, other, -1)); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(path); !errors.Is(err, agent.ErrConfig) {
			t.Errorf("another's file: %v", err)
		}
	}
	if _, err := ReadConfig(filepath.Dir(path)); !errors.Is(err, agent.ErrConfig) {
		t.Errorf("a folder: %v", err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"v":1,"socket":{},"callers":[{"name":"a","user":"0"}]}`))
	f.Add([]byte(`{"v":1,"tcp":{"address":"[::1%lo]:1"},"callers":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		if c.TCP != nil && !strings.HasPrefix(c.TCP.Address, "127.") && !strings.HasPrefix(c.TCP.Address, "[::1]:") && !strings.HasPrefix(c.TCP.Address, "[0") {
			t.Errorf("listens at %q", c.TCP.Address)
		}
		for _, one := range c.Callers {
			if one.User+one.Group+one.TokenFile == "" && one.Identity == nil {
				t.Errorf("anybody is %q", one.Name)
			}
		}
	})
}
