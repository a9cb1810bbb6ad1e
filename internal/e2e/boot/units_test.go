package boot

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// programs is what programs of the whole Debian are to get, by the units of
// openskr-workload.
type programs struct {
	blobs   []byte // key, for the caller of `serve`
	db, tls string // secrets, for `run` and for a managed identity
}

// keys are those that no console and no journal may show.
func (p programs) keys() [][]byte { return [][]byte{p.blobs, []byte(p.db), []byte(p.tls)} }

// installWorkload does in the image what docs/sidecar.md says, for a machine with a TPM.
func (l *lab) installWorkload() error {
	dropIn, err := os.ReadFile(filepath.Join(l.source, "deploy/systemd/openskr-workload-tpm.conf"))
	if err != nil {
		return err
	}
	if err := write(l.tree, map[string]string{"etc/systemd/system/openskr-workload.service.d/tpm.conf": string(dropIn)}); err != nil {
		return err
	}
	_, err = l.inImage("sh", "-euc", `systemd-sysusers
useradd --system app
usermod -aG openskr-clients app
systemctl enable openskr-workload.service
ln -s ../local/sbin/e2e-guest /usr/bin/app
ln -s ../local/sbin/e2e-guest /usr/bin/identity`)
	return err
}

// documented is the first block of a guide that has the words.
func (l *lab) documented(guide, words string) (string, error) {
	b, err := os.ReadFile(filepath.Join(l.source, "docs", guide))
	if err != nil {
		return "", err
	}
	for n, block := range strings.Split("\n"+string(b), "\n```") {
		if n%2 == 1 && strings.Contains(block, words) {
			_, text, _ := strings.Cut(block, "\n") // the first line has the language
			return text + "\n", nil
		}
	}
	return "", fmt.Errorf("docs/%s has no block with %q", guide, words)
}

// Words of the guides that are other ones on this machine.
const (
	documentedVault  = "https://app.vault.localhost:9443"
	documentedSocket = `"socket": {"path": "/run/openskr-workload/api.sock", "group": "openskr-clients"}`
)

// forPrograms makes key, secrets and role of the guides, and writes their units and
// configuration into the image.
func (l *lab) forPrograms() error {
	l.programs = programs{blobs: make([]byte, 32), db: rand.Text(), tls: rand.Text()}
	_, _ = rand.Read(l.programs.blobs)
	policy, err := l.documented("agent.md", "package release")
	if err != nil {
		return err
	}
	if err := write(l.dir, map[string]string{"web.rego": policy, "blobs.bin": string(l.programs.blobs), "db": l.programs.db, "tls": l.programs.tls}); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(l.dir, name) }
	for _, args := range [][]string{
		{"key", "import", "blobs", "--file", in("blobs.bin"), "--policy", in("web.rego")},
		{"secret", "set", "db", "--file", in("db")},
		{"secret", "set", "tls", "--file", in("tls")},
		{"attested-role", "add", "web", "--role", "Key Vault Secrets User", "--scope", "/vaults/default/secrets", "--policy", in("web.rego")},
	} {
		if _, err := l.openskr(args...); err != nil {
			return err
		}
	}
	config, err := l.documented("sidecar.md", documentedSocket)
	if err != nil {
		return err
	}
	config = strings.ReplaceAll(config, documentedVault, l.broker.url)
	identity, err := l.documented("sidecar.md", "BindsTo=openskr-workload.service")
	if err != nil {
		return err
	}
	app, err := l.documented("secrets.md", "ExecStart=/usr/bin/openskr-workload run")
	if err != nil {
		return err
	}
	return write(l.tree, map[string]string{
		"etc/openskr/workload.json":           config,
		"etc/openskr/activated.json":          strings.Replace(config, documentedSocket, `"socket": {}`, 1),
		"etc/systemd/system/identity.service": identity + "ExecStart=/usr/bin/identity\nUser=app\n",
		"etc/systemd/system/app.service":      app,
	})
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256 " + hex.EncodeToString(sum[:])
}

// exposure is a unit's row in the table of docs/agent.md.
var exposure = regexp.MustCompile("(?m)^\\| `(openskr-[a-z]+@?)\\.service` \\| ([0-9.]+) \\|")

// exposures are what systemd-analyze says of our units, if the guides are right.
func (l *lab) exposures(t *testing.T) (lines []string) {
	t.Helper()
	table, err := os.ReadFile(filepath.Join(l.source, "docs/agent.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range exposure.FindAllStringSubmatch(string(table), -1) {
		unit := row[1]
		if strings.HasSuffix(unit, "@") {
			unit += "root"
		}
		lines = append(lines, "→ Overall exposure level for "+unit+".service: "+row[2]+" OK :-)")
	}
	shown, err := l.documented("sidecar.md", "systemd-analyze security")
	if err != nil || len(lines) != 4 || !strings.Contains(shown, strings.TrimSuffix(lines[0], " :-)")) {
		t.Fatalf("docs/agent.md has %q, docs/sidecar.md %q, %v", lines, shown, err)
	}
	return lines
}

// worked is what the units of openskr-workload do, line by line, if the guides are right.
func (l *lab) worked(t *testing.T) []string {
	t.Helper()
	db, tls := digest([]byte(l.programs.db)), digest([]byte(l.programs.tls))
	const (
		serve, app, identity, socket = "openskr-workload.service: ", "app.service: ", "identity.service: ", "openskr-workload.socket: "
		active, inactive             = "Result=success NRestarts=0 ActiveState=active", "Result=success NRestarts=0 ActiveState=inactive"
		ask, alive                   = "asks as ", `200 {"message":"Status OK"} <nil>`
	)
	given := app + "user app: DB_PASSWORD " + db + ", /run/app/TLS_KEY " + tls + ", mode 0400, tmpfs true, <nil>"
	lines := []string{
		serve + "start: ok",
		serve + active,
		serve + "user openskr-workload, NoNewPrivs 1, Seccomp 2, CapBnd 0000000000000000, CapPrm 0000000000000000, " +
			`core "0 0 bytes", dumpable false, swap.max 0, swapped 0 kB, locked true`,
		"check beside it: good: 2 callers, on platform tpm",
		ask + "app in openskr-clients: 200 key " + digest(l.programs.blobs) + " <nil> <nil>",
		ask + `app in openskr-clients: 403 {"error":"workload.json does not let app have key ` + l.debian.key + `"} <nil>`,
		ask + `nobody in openskr-clients: 403 {"error":"workload.json names no such caller: this program is ` +
			`uid 65534, gid 65534, pid N, cgroup \"/system.slice/e2e-guest.service\""} <nil>`,
		ask + "nobody in nogroup: not let in",
	}
	lines = append(lines, l.exposures(t)...)
	return append(lines,
		identity+"start: ok",
		identity+"user app: db "+db+" <nil>",
		app+"start: ok", given, app+"after start: "+active,
		app+"restart: ok", given, app+"after restart: "+active,
		app+"stop: ok", app+"after stop: "+inactive,
		app+"its folder: stat /run/app: no such file or directory",
		serve+"restart: ok", serve+"after restart: "+active,
		identity+"after restart: user app: db "+db+" <nil>",
		"status: "+alive,
		serve+"stop: ok", serve+"after stop: "+inactive, identity+"after stop: "+inactive,
		serve+"its socket: stat /run/openskr-workload/api.sock: no such file or directory",
		socket+"start: ok", serve+"before: inactive exit status 3",
		"activated: "+alive, "activated, as nobody: not let in", serve+"activated: active",
		socket+"stop: ok",
		"failed units: ok",
		"swap off: ok",
	)
}

// number is of a process.
var number = regexp.MustCompile(`pid \d+`)

// units wants what the guides say of the units of openskr-workload, and not a line more.
func (v *visit) units(t *testing.T, journal []byte) {
	t.Helper()
	want := v.lab.worked(t)
	var got []string
	for line := range strings.Lines(v.console.text) {
		_, said, ok := strings.Cut(strings.TrimSpace(line), inGuest)
		if strings.HasPrefix(said, "the units took") {
			t.Log(said)
			break
		}
		if ok && (got != nil || said == want[0]) {
			got = append(got, number.ReplaceAllString(said, "pid N"))
		}
	}
	for n := range max(len(got), len(want)) {
		if n >= len(got) || n >= len(want) || got[n] != want[n] {
			t.Errorf("line %d is wrong. The machine says\n%s\nand is to say\n%s", n+1, strings.Join(got[min(n, len(got)):], "\n"), strings.Join(want[min(n, len(want)):], "\n"))
			break
		}
	}
	if !bytes.Contains(journal, []byte(`msg=refused endpoint=/key/release from="uid 65534, gid 65534`)) {
		t.Error("the journal does not say who was refused")
	}
}

// The guides have what is taken from them, which only `make e2e-boot` puts to work.
func TestGuides(t *testing.T) {
	l := &lab{source: filepath.Join("..", "..", "..")}
	for _, block := range []struct{ guide, words, also string }{
		{"agent.md", "package release", "input.machine.enrolled"},
		{"sidecar.md", documentedSocket, documentedVault},
		{"sidecar.md", "BindsTo=openskr-workload.service", "EnvironmentFile=/run/openskr-workload/app.env"},
		{"secrets.md", "ExecStart=/usr/bin/openskr-workload run", "--secret DB_PASSWORD=default/db --secret-file TLS_KEY=default/tls"},
	} {
		text, err := l.documented(block.guide, block.words)
		if err != nil || !strings.Contains(text, block.also) {
			t.Errorf("docs/%s: want %q in\n%s%v", block.guide, block.also, text, err)
		}
	}
	l.exposures(t)
}
