package agent

import "strings"

// Names are compared without package regexp, which would be a hundredth of the program.

const (
	digits    = "0123456789"
	lowercase = "abcdefghijklmnopqrstuvwxyz"
	// Alphanumeric are the letters and digits of ASCII.
	Alphanumeric = digits + lowercase + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// Consists says whether s is least to most bytes of set.
func Consists(s, set string, least, most int) bool {
	return len(s) >= least && len(s) <= most && strings.Trim(s, set) == ""
}

// isKeyName is for names of keys and secrets.
func isKeyName(s string) bool { return Consists(s, Alphanumeric+"-", 1, 127) }

func isVersion(s string) bool { return Consists(s, digits+"abcdef", 32, 32) }

// isVaultName is for names of 3 to 24 letters, digits and hyphens, that begin with a
// letter and do not end with a hyphen.
func isVaultName(s string) bool {
	return Consists(s, digits+lowercase+"-", 3, 24) && strings.Contains(lowercase, s[:1]) && s[len(s)-1] != '-'
}

// isVaultHost is for HOST or HOST:PORT in lower case, an IPv6 address in brackets.
func isVaultHost(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		if !Consists(s[i+1:], digits, 1, 5) {
			return false
		}
		host = s[:i]
	}
	if address, ok := strings.CutPrefix(host, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		return ok && Consists(address, digits+"abcdef:", 1, len(address))
	}
	return Consists(host, digits+lowercase+".-", 1, len(host)) && host[0] != '.' && host[0] != '-'
}
