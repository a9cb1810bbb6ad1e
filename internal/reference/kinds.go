package reference

import (
	"slices"
	"strconv"
	"strings"
)

// Sizes of digests in bytes.
const (
	sha256Size = 32
	sha384Size = 48
)

// Kinds lists what a reference value can be of, sorted: a closed list, so that a
// misspelt one is refused. docs/references.md says which claim each is compared with.
func Kinds() []string {
	out := []string{
		"authority", "chip", kindCommandLine, "ek", "image", "mrconfigid", "mrenclave", "mrowner", "mrownerconfig", "mrseam", "mrsigner", "mrsignerseam",
		"mrtd", "snp-author-key", "snp-host-data", "snp-id-key", "snp-measurement", "tpm_firmware",
	}
	for prefix, n := range numbered() {
		for i := range n {
			out = append(out, prefix+strconv.Itoa(i))
		}
	}
	slices.Sort(out)
	return out
}

// numbered are the kinds with a register number, by prefix, and how many there are.
func numbered() map[string]int {
	return map[string]int{"pcr": 24, "event": 24, "rtmr": 4, "nitro-pcr": 32}
}

// kindCommandLine is the only kind whose value is text.
const kindCommandLine = "cmdline"

// maxText bounds a value that is text, in bytes.
const maxText = 2 << 10

// sizes gives how many bytes a value of that kind can have in hex; nil: no such kind.
func sizes(kind string) []int {
	switch kind {
	case "snp-host-data", "mrenclave", "mrsigner", "ek", "authority":
		return []int{sha256Size}
	case "image": // Authenticode, or of whatever a claim says
		return []int{sha256Size, sha384Size}
	case "tpm_firmware":
		return []int{8}
	case "chip": // Turin's hardware id, or CHIP_ID of a report
		return []int{8, 64}
	case "snp-measurement", "snp-id-key", "snp-author-key",
		"mrtd", "mrseam", "mrsignerseam", "mrconfigid", "mrowner", "mrownerconfig":
		return []int{sha384Size}
	}
	name := strings.TrimRight(kind, "0123456789")
	i, err := strconv.Atoi(kind[len(name):])
	if err != nil || i >= numbered()[name] || strconv.Itoa(i) != kind[len(name):] {
		return nil
	}
	if name == "pcr" || name == "event" {
		return []int{sha256Size, sha384Size}
	}
	return []int{sha384Size}
}
