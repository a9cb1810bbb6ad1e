package policies

import "errors"

var errTooMuch = errors.New("the compiler process wrote too much")

// capped keeps what a child writes, up to a limit.
type capped struct {
	data []byte
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	if len(p) > c.left {
		return 0, errTooMuch
	}
	c.data, c.left = append(c.data, p...), c.left-len(p)
	return len(p), nil
}
