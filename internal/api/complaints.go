package api

import (
	"bytes"
	"log/slog"
	"sync"
	"time"
)

// complaints passes on what the HTTP library complains of: one line at once, and those of
// the minute after it as their number and the last of them. Whoever breaks off handshakes
// could fill the disk otherwise.
type complaints struct {
	log *slog.Logger

	mu     sync.Mutex
	quiet  bool // for a minute after a line
	unsaid int
	last   string
}

// Write takes one line, as package log does it.
func (c *complaints) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet {
		c.unsaid++
		c.last = text
		return len(line), nil
	}
	c.log.Warn(text)
	c.rest()
	return len(line), nil
}

// rest says nothing for a minute, and then what was kept back. The lock is held.
func (c *complaints) rest() {
	c.quiet, c.unsaid, c.last = true, 0, ""
	time.AfterFunc(time.Minute, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.unsaid == 0 {
			c.quiet = false
			return
		}
		c.log.Warn("more complaints of the HTTP library", "number", c.unsaid, "last", c.last)
		c.rest()
	})
}
