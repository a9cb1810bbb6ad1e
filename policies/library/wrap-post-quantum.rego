# title: Post-quantum wrap of the key
# threat: Somebody records the exchanges of today and opens the keys in them with a quantum computer of tomorrow.
#
# The key leaves only wrapped by a hybrid of ML-KEM and an elliptic curve. The
# boot conditions are those of tpm-secureboot-pcr; to raise the minimum of another
# policy, copy the line about input.request.enc and the set below.
#
# References, in the set "boot" (rename it below to your own): pcr4, pcr7, pcr8,
# pcr9, pcr11, pcr12 and pcr14, each a table of SHA-256 values in lower-case hex.
package release

default allow := false

allow if {
	input.evidence.type == "tpm"
	input.evidence.freshness == "nonce"
	input.claims.secureboot == true
	boot_is_known
	input.request.enc in post_quantum
}

post_quantum := {"hpke-mlkem768-p256", "hpke-mlkem768-x25519", "hpke-mlkem1024-p384"}

# 4 loader, 7 secure boot state, 8 and 9 what the loader read, 11 unified kernel
# image, 12 command line and other load options, 14 shim keys.
boot_is_known if {
	every index in ["4", "7", "8", "9", "11", "12", "14"] {
		known(concat("", ["pcr", index]), input.claims.tpm.pcrs.sha256[index])
	}
}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.boot[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
