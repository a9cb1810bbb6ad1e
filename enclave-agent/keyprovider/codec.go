package keyprovider

import (
	ocicrypt "github.com/containers/ocicrypt/utils/keyprovider"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	agent "github.com/openskr/openskr/enclave-agent"
)

// codec is that of gRPC, and erases what a message was read from and written to: both may
// hold the key of a layer, and gRPC gives its buffers to the next call, or to nobody, as
// they are.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

func (c codec) Marshal(v any) (data mem.BufferSlice, err error) {
	agent.Erasing(func() { data, err = c.marshal(v) })
	return data, err
}

func (c codec) marshal(v any) (mem.BufferSlice, error) {
	if out, ok := v.(*ocicrypt.KeyProviderKeyWrapProtocolOutput); ok {
		defer clear(out.KeyProviderKeyWrapProtocolOutput)
	}
	made, err := c.CodecV2.Marshal(v)
	if err != nil {
		return nil, err
	}
	b := erased{}.Get(made.Len())
	made.CopyTo(*b)
	erase(made)
	return mem.BufferSlice{mem.NewBuffer(b, erased{})}, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) (err error) {
	agent.Erasing(func() {
		one := data.Materialize()
		defer clear(one)
		erase(data)
		err = c.CodecV2.Unmarshal(mem.BufferSlice{mem.SliceBuffer(one)}, v)
	})
	return err
}

// erase clears what nobody reads again. The buffers are called read-only because several
// may share one; here none do.
func erase(data mem.BufferSlice) {
	for _, b := range data {
		clear(b.ReadOnlyData())
	}
}

// erased is a pool that keeps nothing.
type erased struct{}

// unpooled is more than gRPC would make without a pool.
const unpooled = 2 << 10

func (erased) Get(n int) *[]byte {
	b := make([]byte, n, max(n, unpooled))
	return &b
}

func (erased) Put(b *[]byte) { clear((*b)[:cap(*b)]) }
