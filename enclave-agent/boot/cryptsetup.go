package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

// cryptsetup runs the program of that name: with an absolute path, no shell, and an
// environment of its own.
type cryptsetup struct {
	path string
	// dry makes open try the key and map nothing, for tests where the kernel has no
	// device-mapper.
	dry bool
}

// errWrongKey says that a slot does not open with what was given.
var errWrongKey = errors.New("the key slot does not open with this key")

// exitPermission is cryptsetup's for a wrong passphrase.
const exitPermission = 2

func findCryptsetup() (*cryptsetup, error) {
	for _, path := range []string{"/usr/sbin/cryptsetup", "/sbin/cryptsetup", "/usr/bin/cryptsetup"} {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return &cryptsetup{path: path}, nil
		}
	}
	return nil, errors.New("no cryptsetup in /usr/sbin, /sbin or /usr/bin: install it (in an initrd: its hook or module)")
}

// call is one run of cryptsetup. files become its descriptors from 3 on; each secret is
// what it reads from the descriptor after those.
type call struct {
	args    []string
	stdin   []byte // a secret on a pipe, never a copy of it elsewhere
	input   string // what is no secret
	files   []*os.File
	secrets [][]byte
}

// descriptor is the path of the n-th of files and secrets in the child.
func descriptor(n int) string { return "/proc/self/fd/" + strconv.Itoa(3+n) }

// waitDelay is how long a killed program may still hold our pipes.
const waitDelay = 5 * time.Second

// maxMessage bounds what is repeated of cryptsetup's own words.
const maxMessage = 1 << 10

func (c *cryptsetup) run(ctx context.Context, k call) (err error) {
	cmd := exec.CommandContext(ctx, c.path, k.args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	cmd.WaitDelay = waitDelay
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = nil, &said
	cmd.ExtraFiles = append(cmd.ExtraFiles, k.files...)
	for _, s := range k.secrets {
		r, err := pipe(s)
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, r)
	}
	switch {
	case k.stdin != nil:
		r, err := pipe(k.stdin)
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.Stdin = r
	case k.input != "":
		cmd.Stdin = strings.NewReader(k.input)
	}
	err = cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("cryptsetup %s: %w", k.args[0], ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitPermission {
		return errWrongKey
	}
	return fmt.Errorf("cryptsetup %s: %w: %s", k.args[0], err, message(said.Bytes()))
}

// pipe is the reading end of a pipe that holds b. It fits: a pipe takes a page at least.
func pipe(b []byte) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	err = agent.WriteFD(int(w.Fd()), b)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// message makes one printable line of what a program said.
func message(b []byte) string {
	b = b[:min(len(b), maxMessage)]
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, string(b))), " ")
}

// open maps the data of a device to /dev/mapper/name, by a header in memory and one of
// its slots. It fails with [errWrongKey].
func (c *cryptsetup) open(ctx context.Context, header *os.File, device, name, slot string, key []byte) error {
	args := []string{"open", "--type", "luks2", "--header", descriptor(0), "--key-file", "-", "--keyfile-size", strconv.Itoa(len(key)), "--key-slot", slot}
	if c.dry {
		args = append(args, "--test-passphrase")
	}
	args = append(args, "--", device)
	if !c.dry {
		args = append(args, name)
	}
	return c.run(ctx, call{args: args, stdin: key, files: []*os.File{header}})
}

// try says whether a key opens a slot.
func (c *cryptsetup) try(ctx context.Context, header *os.File, slot string, key []byte) error {
	dry := cryptsetup{path: c.path, dry: true}
	return dry.open(ctx, header, descriptor(0), "", slot, key)
}

// close takes the mapping away.
func (c *cryptsetup) close(ctx context.Context, name string) error {
	if c.dry {
		return nil
	}
	return c.run(ctx, call{args: []string{"close", "--", name}})
}
