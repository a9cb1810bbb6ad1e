package tpm

// Event types (PFP §10.4.1).
const (
	evPrebootCert         = 0x00000000
	evPostCode            = 0x00000001
	evUnused              = 0x00000002
	evNoAction            = 0x00000003
	evSeparator           = 0x00000004
	evAction              = 0x00000005
	evEventTag            = 0x00000006
	evSCRTMContents       = 0x00000007
	evSCRTMVersion        = 0x00000008
	evCPUMicrocode        = 0x00000009
	evPlatformConfigFlags = 0x0000000a
	evTableOfDevices      = 0x0000000b
	evCompactHash         = 0x0000000c
	evIPL                 = 0x0000000d
	evIPLPartitionData    = 0x0000000e
	evNonhostCode         = 0x0000000f
	evNonhostConfig       = 0x00000010
	evNonhostInfo         = 0x00000011
	evOmitBootDevice      = 0x00000012
	evPostCode2           = 0x00000013

	evEFIVariableDriverConfig  = 0x80000001
	evEFIVariableBoot          = 0x80000002
	evEFIBootServicesApp       = 0x80000003
	evEFIBootServicesDriver    = 0x80000004
	evEFIRuntimeServicesDriver = 0x80000005
	evEFIGPT                   = 0x80000006
	evEFIAction                = 0x80000007
	evEFIPlatformFirmwareBlob  = 0x80000008
	evEFIHandoffTables         = 0x80000009
	evEFIPlatformFirmwareBlob2 = 0x8000000a
	evEFIHandoffTables2        = 0x8000000b
	evEFIVariableBoot2         = 0x8000000c
	evEFIGPT2                  = 0x8000000d
	evEFIHCRTM                 = 0x80000010
	evEFIVariableAuthority     = 0x800000e0
	evEFISPDMFirmwareBlob      = 0x800000e1
	evEFISPDMFirmwareConfig    = 0x800000e2
	evEFISPDMDevicePolicy      = 0x800000e3
	evEFISPDMDeviceAuthority   = 0x800000e4
)
