package boot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	agent "github.com/openskr/openskr/enclave-agent"
)

func putUint64(b []byte, n uint64) { binary.BigEndian.PutUint64(b, n) }

// sum writes the checksum of a copy.
func sum(c []byte) {
	clear(c[offChecksum:endChecksum])
	s := sha256.Sum256(c)
	copy(c[offChecksum:], s[:])
}

// object walks into a JSON document.
func object(m map[string]any, path string) map[string]any {
	for _, p := range strings.Split(path, "/") {
		m = m[p].(map[string]any)
	}
	return m
}

func set(path, member string, v any) func(map[string]any) {
	return func(m map[string]any) {
		if path != "" {
			m = object(m, path)
		}
		m[member] = v
	}
}

// BU-01, BU-05, BU-06, BU-07: what is not the shape that seal-disk writes is refused, each
// by what is wrong with it.
func TestShape(t *testing.T) {
	raw := seedHeader(t, needCryptsetup(t))
	if _, err := parseHeader(raw); err != nil {
		t.Fatal(err)
	}
	slot := func(m map[string]any) map[string]any { return object(m, "keyslots/0") }
	for name, c := range map[string]struct {
		change func(map[string]any)
		says   string
	}{
		"BU-01 null cipher of the data":   {set("segments/0", "encryption", "cipher_null-ecb"), "encrypted with \"cipher_null-ecb\""},
		"BU-01 null cipher of a slot":     {set("keyslots/0/area", "encryption", "cipher_null-ecb"), "encrypted with \"cipher_null-ecb\""},
		"BU-01 null cipher of recovery":   {set("keyslots/1/area", "encryption", "null-ecb"), "encrypted with"},
		"BU-01 other mode":                {set("segments/0", "encryption", "aes-cbc-essiv:sha256"), "encrypted with"},
		"BU-01 short volume key":          {set("keyslots/0", "key_size", 32), "volume key of 32"},
		"BU-01 short area key":            {set("keyslots/0/area", "key_size", 32), "encrypted with"},
		"BU-05 re-encryption":             {set("config", "requirements", map[string]any{"mandatory": []any{"online-reencrypt"}}), "requirements"},
		"BU-05 re-encryption, version 2":  {set("config", "requirements", map[string]any{"mandatory": []any{"online-reencrypt-v2"}}), "requirements"},
		"BU-05 slot of a re-encryption":   {set("keyslots/0", "type", "reencrypt"), "type \"reencrypt\""},
		"BU-06 slot more":                 {func(m map[string]any) { object(m, "keyslots")["2"] = slot(m) }, "key slots \"0,1,2\""},
		"BU-06 slot less":                 {func(m map[string]any) { delete(object(m, "keyslots"), "1") }, "key slots \"0\""},
		"BU-06 token more":                {set("tokens", "1", map[string]any{"type": "systemd-tpm2", "keyslots": []any{"1"}}), "tokens"},
		"BU-06 token of another type":     {set("tokens/0", "type", "systemd-tpm2"), "tokens"},
		"BU-06 no token":                  {set("", "tokens", map[string]any{}), "0 tokens"},
		"BU-06 token without recovery":    {set("tokens/0", "recovery", []any{}), "sealed with \"0\""},
		"BU-06 token with two key slots":  {set("tokens/0", "keyslots", []any{"0", "1"}), "2 key slots"},
		"BU-06 token, slot named twice":   {set("tokens/0", "recovery", []any{"0"}), "key slots"},
		"BU-06 token without version":     {set("tokens/0", "key", testKey), "version"},
		"BU-06 token with another scheme": {set("tokens/0", "key", "http://vault.example/keys/disk/"+testVersion), "version"},
		"BU-06 segment more":              {func(m map[string]any) { object(m, "segments")["1"] = object(m, "segments/0") }, "2 data segments"},
		"BU-06 linear segment":            {set("segments/0", "type", "linear"), "type \"linear\""},
		"BU-06 segment of fixed size":     {set("segments/0", "size", "4096"), "size \"4096\""},
		"BU-06 segment with a tweak":      {set("segments/0", "iv_tweak", "8"), "IV tweak"},
		"BU-06 segment flags":             {set("segments/0", "flags", []any{"backup-final"}), "flags"},
		"BU-06 sector size":               {set("segments/0", "sector_size", 1024), "sectors of 1024"},
		"BU-06 segment elsewhere":         {set("segments/0", "offset", "3145728"), "data begins"},
		"BU-06 segment in the header":     {set("segments/0", "offset", "0"), "data begins"},
		"BU-06 segment far away":          {set("segments/0", "offset", "1099511627776"), "data begins"},
		"BU-06 segment, negative":         {set("segments/0", "offset", "-1048576"), "does not write"},
		"BU-06 weak PBKDF2":               {set("keyslots/0/kdf", "iterations", 1), "key derivation"},
		"BU-06 endless PBKDF2":            {set("keyslots/0/kdf", "iterations", 1<<30), "key derivation"},
		"BU-06 PBKDF2 with SHA-1":         {set("keyslots/1/kdf", "hash", "sha1"), "key derivation"},
		"BU-06 Argon2 in the key's slot":  {set("keyslots/0", "kdf", argon2(4)), "key derivation"},
		"BU-06 no stripes":                {set("keyslots/0/af", "stripes", 1), "splitter"},
		"BU-06 short salt":                {set("keyslots/0/kdf", "salt", "AAAA"), "salt"},
		"BU-06 priority":                  {set("keyslots/0", "priority", 2), "priority"},
		"BU-06 unknown member":            {set("", "more", 1), "more"},
		"BU-06 other case":                {set("", "Tokens", map[string]any{}), "Tokens"},
		"BU-06 area outside":              {set("keyslots/0/area", "offset", "2097152"), "area of a key slot"},
		"BU-06 area over the JSON":        {set("keyslots/0/area", "offset", "4096"), "area of a key slot"},
		"BU-06 area too long":             {set("keyslots/0/area", "size", "18446744073709551615"), "area of a key slot"},
		"BU-06 areas overlap": {func(m map[string]any) {
			object(m, "keyslots/1/area")["offset"] = object(m, "keyslots/0/area")["offset"]
		}, "share"},
		"BU-06 digest of fewer slots":      {set("digests/0", "keyslots", []any{"0"}), "digest"},
		"BU-06 digest of no segment":       {set("digests/0", "segments", []any{}), "digest"},
		"BU-06 digest more":                {func(m map[string]any) { object(m, "digests")["1"] = object(m, "digests/0") }, "2 digests"},
		"BU-06 weak digest":                {set("digests/0", "iterations", 1), "digest"},
		"BU-06 flag":                       {set("config", "flags", []any{"no-journal"}), "flag"},
		"BU-06 areas larger than there is": {set("config", "keyslots_size", "4194304"), "areas"},
		"BU-06 other size of the JSON":     {set("config", "json_size", "16384"), "areas"},
		"BU-07 integrity":                  {set("segments/0", "integrity", map[string]any{"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"}), "integrity"},
	} {
		_, err := parseHeader(mutate(t, raw, c.change))
		if !errors.Is(err, agent.ErrDisk) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s", name, err, c.says)
		}
	}
	for name, change := range map[string]func(map[string]any){
		"as it is":                   func(map[string]any) {},
		"Argon2 in recovery":         set("keyslots/1", "kdf", argon2(4)),
		"discards":                   set("config", "flags", []any{"allow-discards"}),
		"smaller sectors":            set("segments/0", "sector_size", 512),
		"other numbers of the token": func(m map[string]any) { m["tokens"] = map[string]any{"7": object(m, "tokens/0")} },
	} {
		if _, err := parseHeader(mutate(t, raw, change)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func argon2(cpus int) map[string]any {
	return map[string]any{"type": "argon2id", "time": 4, "memory": 1 << 20, "cpus": cpus, "salt": strings.Repeat("A", 43) + "="}
}

// The binary header: both copies are read, and must say the same.
func TestBinaryHeader(t *testing.T) {
	raw := seedHeader(t, needCryptsetup(t))
	second := func(c []byte) []byte { return c[sealedCopy : 2*sealedCopy] }
	for name, change := range map[string]func(b []byte){
		"magic":                     func(b []byte) { b[0] = 'X' },
		"version 1":                 func(b []byte) { b[7] = 1; sum(b[:sealedCopy]) },
		"no checksum":               func(b []byte) { b[offChecksum]++ },
		"checksum longer":           func(b []byte) { b[offChecksum+32] = 1 },
		"checksum of the second":    func(b []byte) { second(b)[offChecksum]++ },
		"other algorithm":           func(b []byte) { copy(b[offAlgorithm:], "crc32\x00"); sum(b[:sealedCopy]) },
		"place":                     func(b []byte) { b[offPosition+7] = 1; sum(b[:sealedCopy]) },
		"reserved":                  func(b []byte) { b[offReserved] = 1; sum(b[:sealedCopy]) },
		"reserved, end":             func(b []byte) { b[binarySize-1] = 1; sum(b[:sealedCopy]) },
		"behind the JSON":           func(b []byte) { b[sealedCopy-1] = 1; sum(b[:sealedCopy]) },
		"second, sequence":          func(b []byte) { second(b)[offSequence+7]++; sum(second(b)) },
		"second, UUID":              func(b []byte) { second(b)[offUUID]++; sum(second(b)) },
		"second, label":             func(b []byte) { second(b)[offLabel]++; sum(second(b)) },
		"second, JSON":              func(b []byte) { second(b)[sealedCopy-1]++; sum(second(b)) },
		"second, other JSON":        func(b []byte) { c := second(b); c[bytes.Index(c, []byte("4096}"))] = '5'; sum(c) },
		"second is missing":         func(b []byte) { clear(second(b)) },
		"size of a copy":            func(b []byte) { putUint64(b[offSize:], sealedCopy+4096); sum(b[:sealedCopy]) },
		"size of a copy, too small": func(b []byte) { putUint64(b[offSize:], 4096); sum(b[:4096]) },
		"size of a copy, huge":      func(b []byte) { putUint64(b[offSize:], 1<<62); sum(b[:sealedCopy]) },
	} {
		b := bytes.Clone(raw)
		change(b)
		if _, err := parseHeader(b); !errors.Is(err, agent.ErrDisk) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := readHeader(bytes.NewReader(append(b, make([]byte, 4096)...))); !errors.Is(err, agent.ErrDisk) {
			t.Errorf("%s, from a disk: %v", name, err)
		}
	}
	if _, err := parseHeader(raw[:len(raw)-4096]); !errors.Is(err, agent.ErrDisk) {
		t.Errorf("shorter: %v", err)
	}
}

// The digest is of the bytes from 0 to the data.
func TestDigest(t *testing.T) {
	raw := seedHeader(t, needCryptsetup(t))
	h, err := readHeader(bytes.NewReader(append(bytes.Clone(raw), 1, 2, 3)))
	if err != nil {
		t.Fatal(err)
	}
	const areas = 2 * sealedCopy
	before := h.digest()
	h.raw[areas] ^= 1 // of a key slot
	if h.digest() == before || len(h.raw) != sealedHeader || len(before) != 71 {
		t.Errorf("%s over %d bytes", before, len(h.raw))
	}
}
