package simulate

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// SeedFile is the name that `openskr init --simulation` gives the seed in its folder.
const SeedFile = "simulation.seed"

// SeedSize is the length of a seed in bytes; its file is hex.
const SeedSize = 32

// NewSeed makes a seed in a new file, mode 0600. Who has it can forge evidence of all
// simulated hardware of a deployment, and of no other.
func NewSeed(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	seed := make([]byte, SeedSize)
	_, _ = rand.Read(seed) // never fails since Go 1.24
	_, err = fmt.Fprintf(f, "%x\n", seed)
	return errors.Join(err, f.Sync(), f.Close())
}

// ReadSeed reads what NewSeed wrote. It refuses a file that others may read.
func ReadSeed(path string) (seed [SeedSize]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return seed, fmt.Errorf("%w; openskr init --simulation makes a seed, %s in its data folder", err, SeedFile)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return seed, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return seed, fmt.Errorf("%s can be read by others: chmod 600 %s", path, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 2*SeedSize+2))
	if err != nil {
		return seed, err
	}
	raw, err := hex.DecodeString(strings.TrimSuffix(string(b), "\n"))
	if err != nil || len(raw) != SeedSize {
		return seed, fmt.Errorf("%s is no seed: want %d hex digits", path, 2*SeedSize)
	}
	return [SeedSize]byte(raw), nil
}
