# title: TDX machine of a known launch, with the TCB statuses you accept
# threat: A host starts another image than the one you built, or one on a platform whose flaws are published and not mended, and asks for the key.
#
# References, in the set "web" (rename it below to your own): mrtd, rtmr0, rtmr1 and
# rtmr2, each a table of values (96 hex digits). Take a status out of the list below to
# be stricter; Revoked and unknown never pass.
package release

default allow := false

allow if {
	input.evidence.type == "tdx"
	input.evidence.freshness == "nonce"
	input.evidence.tcb_status in accepted
	input.evidence.collateral_age <= 30 * 24 * 60 * 60
	known("mrtd", input.claims.tdx_mrtd)
	known("rtmr0", input.claims.tdx_rtmr0)
	known("rtmr1", input.claims.tdx_rtmr1)
	known("rtmr2", input.claims.tdx_rtmr2)
	input.claims.tdx_td_attributes_septve_disable == true # else the host may interrupt the machine's own accesses to memory
}

accepted := {"UpToDate", "SWHardeningNeeded"}

# A value is known when the set lists it and its time has not run out.
known(kind, value) if in_time(data.references.web[kind][value])

in_time(entry) if object.get(entry, "until", 0) == 0

in_time(entry) if entry.until > input.request.time
