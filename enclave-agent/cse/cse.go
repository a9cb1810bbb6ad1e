// Package cse is the client-side encryption of Azure Storage, versions 2.0 and 2.1, as
// Azure's SDKs write it: AES-256-GCM in regions under a content key of its own, which
// a key of a vault wraps. What describes it is a JSON document in the blob's metadata,
// under the name [MetadataName]. docs/blobs.md has the format.
//
// A region is nonce ‖ ciphertext ‖ tag; all but the last hold the same number of bytes.
// The nonce counts the regions, so that they cannot be reordered. What the format does
// not say is where a blob ends: [EncryptionData.PlainSize] and [ErrUnproven].
//
// Plain text is given out only after its region has authenticated; that a blob is whole
// is known only when Decrypt returns nil, so write to a place that is dropped on error.
package cse

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/openskr/openskr/internal/strict"
)

// MetadataName is the name of the metadata item that holds an EncryptionData.
const MetadataName = "encryptiondata"

// Sizes in bytes.
const (
	RegionSize  = 4 << 20  // of plain text in a region of version 2.0
	MaxRegion   = 16 << 20 // of plain text in a region of version 2.1 that is read here
	MinRegion   = 16       // the same
	MaxMetadata = 16 << 10 // of an EncryptionData; Azure's metadata holds 8 KiB
	nonceSize   = 12
	tagSize     = 16
	overhead    = nonceSize + tagSize
)

// Errors that callers tell apart.
var (
	// ErrFormat says that the metadata is not of this format, or broken.
	ErrFormat = errors.New("not the metadata of a blob with client-side encryption 2.0 or 2.1")
	// ErrVersion1 says that the blob has version 1: AES-CBC, which nothing authenticates.
	ErrVersion1 = errors.New("client-side encryption version 1 (AES-CBC) does not notice tampering and is not read: " +
		"decrypt it with Azure's SDK where you trust the storage, and encrypt it again with version 2")
	// ErrKey says that the key does not open the content key.
	ErrKey = errors.New("wrong key for this blob, or its metadata was tampered with")
	// ErrTampered says that a region was changed, moved, exchanged or cut.
	ErrTampered = errors.New("blob is damaged or was tampered with")
	// ErrUnproven says that the format leaves open whether something was cut off at the end.
	ErrUnproven = errors.New("nothing shows that the blob is whole")
)

// Versions of the protocol.
const (
	version1  = "1.0"
	version2  = "2.0"
	version21 = "2.1"
)

// EncryptionData says how a blob is encrypted. Nothing in it is authenticated by
// itself: Unwrap proves the version, decrypting the rest.
type EncryptionData struct {
	KeyID     string // names the key that wraps the content key, in Azure its URL
	Algorithm string // of the wrapping
	Version   string // "2.0" or "2.1"
	Region    int    // bytes of plain text in a region
	wrapped   []byte // content key
}

// document is EncryptionData as it is stored, in the order that Azure's SDKs have.
type document struct {
	WrappedContentKey struct {
		KeyID        string `json:"KeyId"`
		EncryptedKey []byte
		Algorithm    string
	}
	EncryptionAgent struct {
		Protocol            string
		EncryptionAlgorithm string
	}
	EncryptedRegionInfo struct {
		DataLength  int64
		NonceLength int64
	}
	KeyWrappingMetadata jsontext.Value `json:",omitzero"` // what the writer says about itself
	EncryptionMode      string         `json:",omitzero"`
}

const (
	algorithmGCM = "AES_GCM_256"
	fullBlob     = "FullBlob"
)

// Parse reads an EncryptionData. It knows names in their one spelling, refuses
// duplicates, and passes over members that it does not know, which SDKs add. Errors:
// [ErrFormat], [ErrVersion1].
func Parse(b []byte) (*EncryptionData, error) {
	if len(b) > MaxMetadata {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFormat, len(b), MaxMetadata)
	}
	var agent struct{ EncryptionAgent struct{ Protocol string } }
	if err := json.Unmarshal(b, &agent); err != nil {
		return nil, fmt.Errorf("%w: no JSON object with EncryptionAgent", ErrFormat)
	}
	switch agent.EncryptionAgent.Protocol {
	case version1:
		return nil, ErrVersion1
	case version2, version21:
	default:
		return nil, fmt.Errorf("%w: protocol %.16q", ErrFormat, agent.EncryptionAgent.Protocol)
	}
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("%w: a member has another type than it should", ErrFormat)
	}
	return d.read()
}

func (d *document) read() (*EncryptionData, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
	}
	region, low, high := d.EncryptedRegionInfo, int64(RegionSize), int64(RegionSize)
	if d.EncryptionAgent.Protocol == version21 {
		low, high = MinRegion, MaxRegion
	}
	switch key := d.WrappedContentKey; {
	case d.EncryptionAgent.EncryptionAlgorithm != algorithmGCM:
		return nil, bad("algorithm %.32q, want %s", d.EncryptionAgent.EncryptionAlgorithm, algorithmGCM)
	case d.EncryptionMode != "" && d.EncryptionMode != fullBlob:
		return nil, bad("mode %.32q, want %s", d.EncryptionMode, fullBlob)
	case region.NonceLength != nonceSize:
		return nil, bad("nonces of %d bytes, want %d", region.NonceLength, nonceSize)
	case region.DataLength < low || region.DataLength > high:
		return nil, bad("regions of %d bytes; version %s is read with %d to %d", region.DataLength, d.EncryptionAgent.Protocol, low, high)
	case key.KeyID == "" || len(key.EncryptedKey) == 0:
		return nil, bad("no wrapped content key")
	case !known(key.Algorithm):
		return nil, bad("content key wrapped with %.32q; known are %s", key.Algorithm, names())
	}
	return &EncryptionData{
		KeyID: d.WrappedContentKey.KeyID, Algorithm: d.WrappedContentKey.Algorithm, wrapped: d.WrappedContentKey.EncryptedKey,
		Version: d.EncryptionAgent.Protocol, Region: int(region.DataLength),
	}, nil
}

// Marshal gives the document as Azure's SDKs write it. library tells who wrote it.
func (e *EncryptionData) Marshal(library string) ([]byte, error) {
	var d document
	d.WrappedContentKey.KeyID, d.WrappedContentKey.Algorithm, d.WrappedContentKey.EncryptedKey = e.KeyID, e.Algorithm, e.wrapped
	d.EncryptionAgent.Protocol, d.EncryptionAgent.EncryptionAlgorithm = e.Version, algorithmGCM
	d.EncryptedRegionInfo.DataLength, d.EncryptedRegionInfo.NonceLength = int64(e.Region), nonceSize
	d.EncryptionMode = fullBlob
	var err error
	if d.KeyWrappingMetadata, err = strict.Marshal(map[string]string{"EncryptionLibrary": library}); err != nil {
		return nil, err
	}
	return strict.Marshal(d)
}

// PlainSize is the size of the plain text of a blob of size bytes, and whether the blob
// can prove that it ends where it does.
//
// A writer fills every region but the last. So a short one is the last that was
// written, and one that is full may have had a successor. In version 2.1 the size of
// a region stands in the metadata alone, where it could be made larger until a full
// region looks short: there a second region is needed to show how large the first is.
// A size that no blob can have is [ErrTampered].
func (e *EncryptionData) PlainSize(size int64) (plain int64, proven bool, err error) {
	full := int64(e.Region + overhead)
	regions, rest := size/full, size%full
	if size < 0 || rest > 0 && rest < overhead {
		return 0, false, fmt.Errorf("%w: %d bytes are no whole number of regions", ErrTampered, size)
	}
	if rest > 0 {
		regions++
	}
	return size - regions*overhead, rest > 0 && (regions > 1 || e.Version == version2), nil
}
