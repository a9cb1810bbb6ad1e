package boot

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/openskr/openskr/internal/strict"

	agent "github.com/openskr/openskr/enclave-agent"
)

// metadata is the JSON area (LUKS2 On-Disk Format Specification 1.1 §3) as far as it may
// go here: what it may hold is what these types name.
type metadata struct {
	Keyslots map[string]keyslot  `json:"keyslots"`
	Tokens   map[string]token    `json:"tokens"`
	Segments map[string]segment  `json:"segments"`
	Digests  map[string]lukskeys `json:"digests"`
	Config   config              `json:"config"`
}

type keyslot struct {
	Type    string `json:"type"`
	KeySize int    `json:"key_size"`
	AF      struct {
		Type    string `json:"type"`
		Stripes int    `json:"stripes"`
		Hash    string `json:"hash"`
	} `json:"af"`
	Area struct {
		Type       string `json:"type"`
		Offset     uint64 `json:"offset,string"`
		Size       uint64 `json:"size,string"`
		Encryption string `json:"encryption"`
		KeySize    int    `json:"key_size"`
	} `json:"area"`
	KDF kdf `json:"kdf"`
}

type kdf struct {
	Type       string `json:"type"`
	Salt       []byte `json:"salt"`
	Hash       string `json:"hash"`       // pbkdf2
	Iterations int    `json:"iterations"` // pbkdf2
	Time       int    `json:"time"`       // argon2id
	Memory     int    `json:"memory"`     // argon2id, KiB
	CPUs       int    `json:"cpus"`       // argon2id
}

// token is ours: it says which slot a released key opens, of which key.
type token struct {
	Type     string   `json:"type"`
	Keyslots []string `json:"keyslots"`
	Recovery []string `json:"recovery"`
	Key      string   `json:"key"` // URL with version
}

const tokenType = "openskr"

type segment struct {
	Type       string `json:"type"`
	Offset     uint64 `json:"offset,string"`
	Size       string `json:"size"`
	IVTweak    string `json:"iv_tweak"`
	Encryption string `json:"encryption"`
	SectorSize int    `json:"sector_size"`
}

// lukskeys is a digest of the volume key.
type lukskeys struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations int      `json:"iterations"`
	Salt       []byte   `json:"salt"`
	Digest     []byte   `json:"digest"`
}

type config struct {
	JSONSize     uint64   `json:"json_size,string"`
	KeyslotsSize uint64   `json:"keyslots_size,string"`
	Flags        []string `json:"flags"`
}

const (
	cipher        = "aes-xts-plain64"
	volumeKeySize = 64 // AES-256-XTS
	stripes       = 4000
	minIterations = 1000 // what cryptsetup allows; the secrets behind it are random
	maxIterations = 1 << 28
	maxKDFMemory  = 4 << 20 // KiB
	maxKDFTime    = 1 << 16
)

// parseMetadata decodes strictly: a member that is not named above, such as the
// requirements of a re-encryption under way, is refused (BU-05, BU-06).
func parseMetadata(b []byte) (*metadata, error) {
	var m metadata
	if err := strict.Unmarshal(b, maxCopy, &m); err != nil {
		return nil, tampered("the header holds what seal-disk does not write: %w", err)
	}
	return &m, nil
}

// dataOffset checks the one segment and says where it starts.
func (m *metadata) dataOffset() (int, error) {
	s, ok := m.Segments["0"]
	if !ok || len(m.Segments) != 1 {
		return 0, tampered("%d data segments: want one, number 0", len(m.Segments))
	}
	switch {
	case s.Type != "crypt":
		return 0, tampered("data segment of type %.32q: want crypt", s.Type)
	case s.Encryption != cipher:
		return 0, tampered("data is encrypted with %.64q: want %s", s.Encryption, cipher)
	case s.IVTweak != "0":
		return 0, tampered("data segment with IV tweak %.32q: want 0", s.IVTweak)
	case s.SectorSize != 512 && s.SectorSize != 4096:
		return 0, tampered("data segment with sectors of %d bytes: want 512 or 4096", s.SectorSize)
	case s.Size != "dynamic":
		return 0, tampered("data segment of size %.32q: want the rest of the disk (dynamic)", s.Size)
	case s.Offset == 0 || s.Offset > maxHeader || s.Offset%headerAlign != 0:
		return 0, tampered("data begins at byte %d: want a multiple of %d up to %d", s.Offset, headerAlign, maxHeader)
	}
	return int(s.Offset), nil
}

// check compares everything in the header with the shape of a sealed disk; n is the
// size of one copy.
func (h *header) check(n int) error {
	if offset, err := h.dataOffset(); err != nil {
		return err
	} else if offset != len(h.raw) {
		return tampered("data begins at byte %d, not at %d: the header changed while it was read", offset, len(h.raw))
	}
	areas := uint64(len(h.raw) - 2*n)
	if h.Config.JSONSize != uint64(n-binarySize) || h.Config.KeyslotsSize == 0 || h.Config.KeyslotsSize > areas {
		return tampered("areas of %d and %d bytes do not fit the header", h.Config.JSONSize, h.Config.KeyslotsSize)
	}
	for _, f := range h.Config.Flags {
		if !slices.Contains([]string{"allow-discards", "same-cpu-crypt", "submit-from-crypt-cpus", "no-read-workqueue", "no-write-workqueue"}, f) {
			return tampered("flag %.32q", f)
		}
	}
	if err := h.checkToken(); err != nil {
		return err
	}
	for slot, k := range h.Keyslots {
		if err := k.check(slot == h.recovery); err != nil {
			return fmt.Errorf("slot %.8q: %w", slot, err)
		}
	}
	if err := h.checkAreas(uint64(2*n), uint64(2*n)+h.Config.KeyslotsSize); err != nil {
		return err
	}
	return h.checkDigest()
}

// checkToken finds the slots: there are those that the one token names and no others.
func (h *header) checkToken() error {
	tokens := slices.Collect(maps.Values(h.Tokens))
	if len(tokens) != 1 || tokens[0].Type != tokenType {
		return tampered("%d tokens: want the one that seal-disk writes (another program enrolled something: its token and slot must go)", len(tokens))
	}
	t := tokens[0]
	if len(t.Keyslots) != 1 || len(t.Recovery) > 1 {
		return tampered("the token names %d key slots and %d for recovery: want one, and at most one", len(t.Keyslots), len(t.Recovery))
	}
	named := slices.Concat(t.Keyslots, t.Recovery)
	slices.Sort(named)
	if slots := slices.Sorted(maps.Keys(h.Keyslots)); !slices.Equal(named, slots) {
		return tampered("key slots %.40q, but the disk was sealed with %.40q; if you enrolled or removed one, run openskr-agent seal-disk DEVICE --update-header",
			strings.Join(slots, ","), strings.Join(named, ","))
	}
	for _, slot := range named {
		if n, err := strconv.Atoi(slot); err != nil || n < 0 || n > 31 || strconv.Itoa(n) != slot {
			return tampered("key slot %.8q", slot)
		}
	}
	if _, version, err := agent.SplitKeyURL(t.Key); err != nil || version == "" {
		return tampered("the token does not name a key and its version")
	}
	h.key, h.keyURL = t.Keyslots[0], t.Key
	if len(t.Recovery) == 1 {
		h.recovery = t.Recovery[0]
	}
	return nil
}

// check compares a slot with those that seal-disk makes. Argon2 is only for recovery,
// where a person may have chosen the passphrase.
func (k *keyslot) check(recovery bool) error {
	switch {
	case k.Type != "luks2" || k.KeySize != volumeKeySize:
		return tampered("type %.32q with a volume key of %d bytes: want luks2, %d", k.Type, k.KeySize, volumeKeySize)
	case k.Area.Type != "raw" || k.Area.Encryption != cipher || k.Area.KeySize != volumeKeySize:
		return tampered("the volume key is encrypted with %.64q, %d bytes: want %s, %d", k.Area.Encryption, k.Area.KeySize, cipher, volumeKeySize)
	case k.AF.Type != "luks1" || k.AF.Stripes != stripes || !goodHash(k.AF.Hash):
		return tampered("anti-forensic splitter %.32q, %d stripes, %.32q", k.AF.Type, k.AF.Stripes, k.AF.Hash)
	case len(k.KDF.Salt) != 32:
		return tampered("salt of %d bytes: want 32", len(k.KDF.Salt))
	}
	f := k.KDF
	pbkdf2 := f.Type == "pbkdf2" && goodHash(f.Hash) && f.Iterations >= minIterations && f.Iterations <= maxIterations &&
		f.Time == 0 && f.Memory == 0 && f.CPUs == 0
	argon2 := f.Type == "argon2id" && f.Hash == "" && f.Iterations == 0 &&
		f.Time >= 1 && f.Time <= maxKDFTime && f.Memory >= 32 && f.Memory <= maxKDFMemory && f.CPUs >= 1 && f.CPUs <= 4
	if !pbkdf2 && (!argon2 || !recovery) {
		return tampered("key derivation %.32q with weak or senseless values", f.Type)
	}
	return nil
}

func goodHash(name string) bool { return name == "sha256" || name == "sha512" }

// checkAreas wants each slot's area inside the area of slots, and none over another.
func (h *header) checkAreas(from, to uint64) error {
	type span struct{ from, to uint64 }
	var spans []span
	for _, k := range h.Keyslots {
		a := k.Area
		if a.Offset < from || a.Offset >= to || a.Size < volumeKeySize*stripes || a.Size > to-a.Offset {
			return tampered("the area of a key slot, %d bytes at %d, is not between %d and %d", a.Size, a.Offset, from, to)
		}
		for _, s := range spans {
			if a.Offset < s.to && s.from < a.Offset+a.Size {
				return tampered("two key slots share an area")
			}
		}
		spans = append(spans, span{a.Offset, a.Offset + a.Size})
	}
	return nil
}

func (h *header) checkDigest() error {
	digests := slices.Collect(maps.Values(h.Digests))
	if len(digests) != 1 {
		return tampered("%d digests of volume keys: want one", len(digests))
	}
	d := digests[0]
	slots := slices.Clone(d.Keyslots)
	slices.Sort(slots)
	if !slices.Equal(slots, slices.Sorted(maps.Keys(h.Keyslots))) || !slices.Equal(d.Segments, []string{"0"}) {
		return tampered("the digest of the volume key is not that of all key slots and of segment 0")
	}
	if d.Type != "pbkdf2" || !goodHash(d.Hash) || d.Iterations < minIterations || d.Iterations > maxIterations || len(d.Salt) != 32 || len(d.Digest) < 32 || len(d.Digest) > 64 {
		return tampered("digest of the volume key of type %.32q with weak or senseless values", d.Type)
	}
	return nil
}
