package boot

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Console tells a person what happens while there is nothing else. No line holds a byte
// of a key. The host of a virtual machine reads it too.
type Console struct {
	// Err gets every line.
	Err io.Writer
	// Kernel also writes to the kernel's log, which shows on the console of a machine
	// that boots and is kept in its journal.
	Kernel bool
	// Path of the terminal that recovery asks on, "": /dev/console, or the terminal of
	// standard input.
	Path string

	saying sync.Mutex // one line
	asking sync.Mutex // one question
}

// Levels of the kernel's log, RFC 5424: a failure shows in spite of "quiet".
const (
	levelFailure = 3
	levelNotice  = 5
)

// Say tells a step.
func (c *Console) Say(format string, args ...any) { c.line(levelNotice, fmt.Sprintf(format, args...)) }

// Fail tells why something does not go on.
func (c *Console) Fail(format string, args ...any) {
	c.line(levelFailure, fmt.Sprintf(format, args...))
}

// maxLine is what the kernel takes as one record, less its prefix.
const maxLine = 900

func (c *Console) line(level int, text string) {
	c.saying.Lock()
	defer c.saying.Unlock()
	text = strings.Join(strings.Fields(text), " ")
	fmt.Fprintf(c.Err, "openskr-agent: %s\n", text)
	if !c.Kernel {
		return
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return // there is no other place to say it
	}
	defer f.Close()
	for text != "" {
		n := min(len(text), maxLine)
		fmt.Fprintf(f, "<%d>openskr-agent: %s\n", level, text[:n])
		text = text[n:]
	}
}
