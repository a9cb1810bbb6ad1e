package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows on a terminal how much of a source was read.
type progress struct {
	r     io.Reader
	w     io.Writer // nil: nowhere
	total int64     // -1: not known
	start time.Time

	mu    sync.Mutex
	read  int64
	shown time.Time
	ended bool
}

// watch shows progress when standard error is a terminal and nobody asked for JSON.
func (a *app) watch(r io.Reader, total int64) *progress {
	p := &progress{r: r, total: total, start: time.Now()}
	if f, ok := a.stderr.(*os.File); ok && !a.json && term.IsTerminal(int(f.Fd())) {
		p.w = f
	}
	return p
}

// Read implements [io.Reader].
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.w != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.read += int64(n)
		if now := time.Now(); !p.ended && now.Sub(p.shown) > 200*time.Millisecond {
			p.shown = now
			fmt.Fprintf(p.w, "\r%s\x1b[K", p.line(now))
		}
	}
	return n, err
}

const barWidth = 30

// line is the bar, or without a total the number of bytes; then the rate.
func (p *progress) line(now time.Time) string {
	rate := float64(p.read) / max(now.Sub(p.start).Seconds(), 0.001)
	out := fmt.Sprintf("%s, %s/s", binary(p.read), binary(int64(rate)))
	if p.total <= 0 {
		return out
	}
	done := min(float64(p.read)/float64(p.total), 1)
	full := int(done * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%% %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done*100, out)
}

// binary is a number of bytes for a person.
func binary(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/(1<<10), 0
	for v >= 1<<10 && unit < len(units)-1 {
		v, unit = v/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[unit])
}

// end wipes the line; what is read later shows nothing.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && !p.ended && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	p.ended = true
}
