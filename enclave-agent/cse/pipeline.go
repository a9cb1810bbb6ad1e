package cse

import (
	"context"
	"errors"
	"io"
	"runtime"
)

// poolSize bounds the memory of a stream in bytes; a single region may exceed it.
const poolSize = 16 << 20

// batch is a part of a stream on its way: what was read, then what is written.
type batch struct {
	buffer []byte
	in     []byte // as read, somewhere in buffer
	number uint64 // of the batch in its stream
	out    []byte // to write, somewhere in buffer
	err    error
	done   chan struct{} // closed when out or err is there
}

// pipeline reads batches, transforms them side by side, and writes them in order, with
// a fixed set of buffers.
type pipeline struct {
	size     int // of a buffer
	headroom int // bytes in front of what is read
	read     int // bytes to read into a buffer; fewer are the end
	// check sees the batches one after the other, in their order; may be nil.
	check func(*batch) error
	// transform sets out; it runs in several goroutines.
	transform func(*batch) error
}

// run gives back the bytes read. It ends with ctx, or at the first error: a Read that is
// under way then ends on its own and is the last. That it has read to the end, nil says.
func (p *pipeline) run(ctx context.Context, dst io.Writer, src io.Reader) (read int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	buffers, workers := max(1, poolSize/p.size), min(4, runtime.GOMAXPROCS(0))
	free, order, work := make(chan []byte, buffers), make(chan *batch, buffers), make(chan *batch, buffers)
	for range buffers {
		free <- nil // made when it is needed
	}
	for range workers {
		go func() {
			for b := range work {
				if b.err == nil {
					b.err = p.transform(b)
				}
				close(b.done)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(work)
		p.fill(ctx, src, free, order, work)
	}()
	for {
		b, err := next(ctx, order)
		if b == nil {
			return read, err
		}
		if b.err != nil {
			return read, b.err
		}
		read += int64(len(b.in))
		if _, err := dst.Write(b.out); err != nil {
			return read, err
		}
		free <- b.buffer // has room: there are no more buffers than places
	}
}

// next waits for the next batch to be done; nil without an error is the end.
func next(ctx context.Context, order <-chan *batch) (*batch, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case b, ok := <-order:
		if !ok {
			return nil, context.Cause(ctx) // nil unless that is why reading ended
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-b.done:
			return b, nil
		}
	}
}

// fill reads until the end, an error, or the end of ctx.
func (p *pipeline) fill(ctx context.Context, src io.Reader, free <-chan []byte, order, work chan<- *batch) {
	for number := uint64(0); ; number++ {
		var buffer []byte
		select {
		case <-ctx.Done():
		case buffer = <-free:
		}
		if ctx.Err() != nil {
			return
		}
		if buffer == nil {
			buffer = make([]byte, p.size)
		}
		b := &batch{buffer: buffer, number: number, done: make(chan struct{})}
		n, err := io.ReadFull(src, buffer[p.headroom:p.headroom+p.read])
		b.in = buffer[p.headroom : p.headroom+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			b.err = err
		} else if p.check != nil {
			b.err = p.check(b)
		}
		end := err != nil || b.err != nil // read now: from the next line on b is a worker's
		order <- b                        // both have room, as free has
		work <- b
		if end {
			return
		}
	}
}
