package release

import "sync"

// maxVetted bounds how many recipients are remembered.
const maxVetted = 4 << 10

// vetted remembers recipients, by thumbprint, that were found strong: the arithmetic on
// an RSA modulus costs several times all else in a release, and a workload asks for all
// its keys with one. Only what passed is in it; when it is full it begins again.
type vetted struct {
	mu   sync.Mutex
	seen map[[32]byte]struct{}
}

func (v *vetted) has(thumbprint [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.seen[thumbprint]
	return ok
}

func (v *vetted) add(thumbprint [32]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) >= maxVetted {
		v.seen = map[[32]byte]struct{}{}
	}
	v.seen[thumbprint] = struct{}{}
}

// vet refuses a weak recipient. The thumbprint is of the very key, made by Wrapper.Check.
func (b *Broker) vet(recipient []byte, thumbprint [32]byte) error {
	if b.vetted.has(thumbprint) {
		return nil
	}
	if err := b.Wrapper.Vet(recipient); err != nil {
		return err
	}
	b.vetted.add(thumbprint)
	return nil
}
