package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Session runs the commands of a Markdown page, as a reader would paste them into
// one shell, and gives the page with what they printed. Blocks marked console are
// run: lines that begin with "$ " are commands, with those that continue them after
// a backslash or begin with "> "; the others are replaced with the output.
type Session struct {
	// Here turns what the page says into what is so in this run (names, ports), and
	// There undoes it, so that two runs give one page.
	Here, There func(string) string
	// Dir is the working directory of the shell, Env its environment.
	Dir string
	Env []string
	// Done is told each comment before a block (<!-- … -->) when every command of
	// the block ended with 0.
	Done func(comment string) error

	stdin io.WriteCloser
	out   *bufio.Reader
}

// commandLimit bounds one command.
const commandLimit = 2 * time.Minute

// Run gives the page as it is now. The error names every command that failed.
func (s *Session) Run(ctx context.Context, page string) (fresh string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "--norc", "--noprofile")
	shell.Dir, shell.Env = s.Dir, s.Env
	shell.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.stdin, err = shell.StdinPipe(); err != nil {
		return "", err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer out.Close()
	shell.Stdout, shell.Stderr, s.out = in, in, bufio.NewReader(out)
	if err := shell.Start(); err != nil {
		return "", errors.Join(err, in.Close())
	}
	if err := in.Close(); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.stdin.Close(), shell.Wait()) }()
	return s.page(page)
}

var (
	block   = regexp.MustCompile("(?ms)^(?:<!-- ([^\n]*) -->\n)?```console\n(.*?)^```$")
	command = regexp.MustCompile(`(?m)^\$ (?:[^\n]*\\\n)*[^\n]*\n(?:> [^\n]*\n)*`)
)

func (s *Session) page(page string) (string, error) {
	var failed error
	fresh := block.ReplaceAllStringFunc(page, func(b string) string {
		parts := block.FindStringSubmatch(b)
		var text strings.Builder
		for _, c := range command.FindAllString(parts[2], -1) {
			out, err := s.command(strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(c, "$ "), "\n"), "\n> ", "\n"))
			text.WriteString(c + s.There(out))
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s%s%w", c, out, err))
				return b // the blocks that follow tell more
			}
		}
		if parts[1] != "" {
			failed = errors.Join(failed, s.Done(parts[1]))
			return "<!-- " + parts[1] + " -->\n```console\n" + text.String() + "```"
		}
		return "```console\n" + text.String() + "```"
	})
	return fresh, failed
}

// command runs one command and gives what it printed, ending with a newline when
// there is anything.
func (s *Session) command(c string) (string, error) {
	const end = "\x04openskr\x04"
	hang := time.AfterFunc(commandLimit, func() { _ = s.stdin.Close() })
	defer hang.Stop()
	if _, err := fmt.Fprintf(s.stdin, "%s\nprintf '%s%%d\\n' $?\n", s.Here(c), end); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if text, status, ok := strings.Cut(line, end); ok {
			out.WriteString(text)
			if text != "" {
				out.WriteByte('\n')
			}
			if status != "0\n" {
				return out.String(), fmt.Errorf("exit status %s", strings.TrimSpace(status))
			}
			return out.String(), nil
		}
		out.WriteString(line)
		if err != nil {
			return out.String(), fmt.Errorf("the shell ended: %w", err)
		}
	}
}
