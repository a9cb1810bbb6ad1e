package harness

import (
	"os"
	"strings"
	"testing"
)

func session(t *testing.T, done *[]string) *Session {
	return &Session{
		Dir: t.TempDir(), Env: os.Environ(),
		Here:  strings.NewReplacer("8443", "1234").Replace,
		There: strings.NewReplacer("1234", "8443").Replace,
		Done:  func(c string) error { *done = append(*done, c); return nil },
	}
}

func TestSession(t *testing.T) {
	const page = "# A page\n\n```sh\nexit 1\n```\n\n<!-- first -->\n```console\n$ echo port \\\n    8443\nold output\n$ x=kept; echo 1234 >&2\n```\n\n" +
		"```console\n$ cat <<EOF\n> $x\n> EOF\n$ ! false\n$ printf 'no newline'\n```\n"
	const want = "# A page\n\n```sh\nexit 1\n```\n\n<!-- first -->\n```console\n$ echo port \\\n    8443\nport 8443\n$ x=kept; echo 1234 >&2\n8443\n```\n\n" +
		"```console\n$ cat <<EOF\n> $x\n> EOF\nkept\n$ ! false\n$ printf 'no newline'\nno newline\n```\n"
	var done []string
	got, err := session(t, &done).Run(t.Context(), page)
	if err != nil || got != want || len(done) != 1 || done[0] != "first" {
		t.Errorf("%v, %q\n%s", err, done, got)
	}
}

// A command that fails proves nothing, and the page keeps what it said.
func TestSessionFails(t *testing.T) {
	const page = "<!-- bad -->\n```console\n$ false\nold\n```\n<!-- worse -->\n```console\n$ no-such-command-here\n```\n<!-- good -->\n```console\n$ true\n```\n"
	var done []string
	got, err := session(t, &done).Run(t.Context(), page)
	if err == nil || !strings.Contains(err.Error(), "$ false") || !strings.Contains(err.Error(), "no-such-command-here") {
		t.Error(err)
	}
	if got != page || len(done) != 1 || done[0] != "good" {
		t.Errorf("%q\n%s", done, got)
	}
	if _, err := session(t, &done).Run(t.Context(), "```console\n$ exit 3\n$ true\n```\n"); err == nil {
		t.Error("a shell that ended went unnoticed")
	}
}
