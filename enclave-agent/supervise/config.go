// Package supervise runs a program with secrets and keeps an eye on both.
//
// Whatever touches a secret is a process that ends. The supervisor starts a reader, which
// is the same program again: it attests, reads the secrets, and then becomes the program
// (exec), with the secrets in its environment, in a file system in memory that it alone
// sees, or behind file descriptors. The supervisor passes on signals and the exit code.
// It starts further readers to look for new versions. No byte of a secret, and no token,
// ever comes into its memory.
//
//	supervisor ─ starts ─► reader ─ attests, reads ─► versions ─► supervisor
//	                       reader ◄─ exec, write or the end ─────────────┘
package supervise

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	agent "github.com/openskr/openskr/enclave-agent"
)

// Form is how a program gets a secret.
type Form string

// Forms. A file and a descriptor are named to the program by the environment variable
// NAME_FILE.
const (
	Env  Form = "env"  // the environment variable NAME
	File Form = "file" // the file NAME in Config.Dir
	FD   Form = "fd"   // a sealed file in memory (memfd), inherited
)

// Secret is one that a program gets.
type Secret struct {
	Name string // ^[A-Za-z_][0-9A-Za-z_]*$
	Form Form
}

// variable is the environment variable that a program finds it by.
func (s *Secret) variable() string {
	if s.Form == Env {
		return s.Name
	}
	return s.Name + "_FILE"
}

// Change is what happens when a secret has a new version.
type Change string

// Changes.
const (
	Restart Change = "restart" // end the program and start it with the new version
	Signal  Change = "signal"  // replace the files, then send Config.Signal
	Exit    Change = "exit"    // end the program, and the supervisor with its exit code
)

// MinWatch is the shortest pause between two looks: each one attests, and is a record.
const MinWatch = time.Second

// Config says what to run. Secrets, Command, Reader and Notice are required.
type Config struct {
	Secrets []Secret
	Dir     string // absolute, for files
	Command []string
	Watch   time.Duration // between looks for new versions; 0: never
	Change  Change        // with Watch
	Signal  syscall.Signal
	Stop    time.Duration // a program that is told to end is killed after this time
	Reader  []string      // argv of a reader, which runs this same program
	Notice  func(string)  // told what a person should know
	Fit     func() error  // whether this machine may still hold secrets, asked before a reader that is not the first; nil: it may
}

var variableName = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]{0,127}$`)

// Check refuses what cannot work, before anything is read. Errors wrap
// [agent.ErrConfig].
func (c *Config) Check() error {
	if err := c.check(); err != nil {
		return fmt.Errorf("%w: %w", agent.ErrConfig, err)
	}
	return nil
}

func (c *Config) check() error {
	if len(c.Secrets) == 0 {
		return errors.New("no secret: name at least one")
	}
	if len(c.Command) == 0 {
		return errors.New("no command: give it after --")
	}
	seen := map[string]bool{}
	for _, s := range c.Secrets {
		if !variableName.MatchString(s.Name) {
			return fmt.Errorf("secret %.64q: want a name of letters, digits and _", s.Name)
		}
		if v := s.variable(); seen[v] {
			return fmt.Errorf("two secrets are %s", v)
		} else {
			seen[v] = true
		}
	}
	if c.has(File) && (!filepath.IsAbs(c.Dir) || filepath.Clean(c.Dir) != c.Dir || c.Dir == "/") {
		return fmt.Errorf("folder %.256q: want an absolute path", c.Dir)
	}
	if c.Watch == 0 {
		return nil
	}
	switch c.Change {
	case Restart, Exit:
	case Signal:
		if c.has(Env) || c.has(FD) {
			return errors.New("only files can change while a program runs: give its secrets as files, or restart it")
		}
	default:
		return fmt.Errorf("on change %.32q: want restart, signal or exit", c.Change)
	}
	if c.Watch < MinWatch {
		return fmt.Errorf("looks for new versions %s apart: want %s or more", c.Watch, MinWatch)
	}
	return nil
}

func (c *Config) has(f Form) bool {
	for _, s := range c.Secrets {
		if s.Form == f {
			return true
		}
	}
	return false
}
