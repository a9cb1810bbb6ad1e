package gce

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// oidInstance is Google's extension for the instance that a vTPM belongs to:
//
//	SEQUENCE {
//	  zone UTF8String, projectNumber INTEGER, projectId UTF8String,
//	  instanceId INTEGER, instanceName UTF8String,
//	  securityProperties [0] EXPLICIT SEQUENCE {
//	    securityVersion [0] EXPLICIT INTEGER OPTIONAL,
//	    isProduction    [1] EXPLICIT BOOLEAN OPTIONAL, … } }
var oidInstance = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}

const (
	maxInstance = 1 << 10
	maxText     = 128
)

// instance is what Google says about the machine.
type instance struct {
	zone, projectID, instanceName string
	projectNumber, instanceID     uint64
	securityVersion               uint64
	production                    bool
}

// name is unique and the same for as long as the instance exists: ids of instances
// are not used again.
func (i *instance) name() string {
	return strconv.FormatUint(i.projectNumber, 10) + "/" + i.zone + "/" + strconv.FormatUint(i.instanceID, 10)
}

// parseInstance reads exactly one extension value. Security properties that this
// version does not know are read over: Google adds to them.
func parseInstance(der []byte) (*instance, error) {
	if len(der) > maxInstance {
		return nil, fmt.Errorf("instance info of %d bytes, limit %d", len(der), maxInstance)
	}
	fields, err := sequence(der)
	if err != nil || len(fields) != 6 {
		return nil, errors.New("instance info: not a sequence of six")
	}
	var i instance
	i.zone, err = text(fields[0], err)
	i.projectNumber, err = number(fields[1], err)
	i.projectID, err = text(fields[2], err)
	i.instanceID, err = number(fields[3], err)
	i.instanceName, err = text(fields[4], err)
	if err == nil {
		err = i.readSecurity(fields[5])
	}
	if err != nil {
		return nil, fmt.Errorf("instance info: %w", err)
	}
	return &i, nil
}

func (i *instance) readSecurity(f asn1.RawValue) error {
	if !explicit(f, 0) {
		return errors.New("security properties missing")
	}
	properties, err := sequence(f.Bytes)
	last := -1
	for _, p := range properties {
		if p.Tag <= last || !explicit(p, p.Tag) {
			return errors.New("security properties out of order")
		}
		last = p.Tag
		var v asn1.RawValue
		rest, verr := asn1.Unmarshal(p.Bytes, &v)
		if verr != nil || len(rest) > 0 {
			return errors.New("security property is not one value")
		}
		switch p.Tag {
		case 0:
			i.securityVersion, err = number(v, err)
		case 1:
			if rest, berr := asn1.Unmarshal(p.Bytes, &i.production); berr != nil || len(rest) > 0 {
				err = errors.New("isProduction is no boolean")
			}
		}
	}
	return err
}

// explicit says whether f is EXPLICIT with that tag.
func explicit(f asn1.RawValue, tag int) bool {
	return f.Class == asn1.ClassContextSpecific && f.Tag == tag && f.IsCompound
}

// sequence splits exactly one SEQUENCE into its members.
func sequence(der []byte) ([]asn1.RawValue, error) {
	var s asn1.RawValue
	rest, err := asn1.Unmarshal(der, &s)
	if err != nil || len(rest) > 0 || s.Class != asn1.ClassUniversal || s.Tag != asn1.TagSequence || !s.IsCompound {
		return nil, errors.New("not one sequence")
	}
	var out []asn1.RawValue
	for b := s.Bytes; len(b) > 0; {
		var f asn1.RawValue
		if b, err = asn1.Unmarshal(b, &f); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// text reads a UTF8String in the letters of names of Google Cloud: none of them
// separates the parts of a name. An error before stays.
func text(f asn1.RawValue, err error) (string, error) {
	s := string(f.Bytes)
	switch {
	case err != nil:
		return "", err
	case f.Class != asn1.ClassUniversal || f.Tag != asn1.TagUTF8String || f.IsCompound || s == "" || len(s) > maxText:
		return "", fmt.Errorf("not a UTF8String of at most %d bytes", maxText)
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_-") != "":
		return "", fmt.Errorf("%.32q is no name", s)
	}
	return s, nil
}

// number reads an INTEGER of 64 bits without sign.
func number(f asn1.RawValue, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	n := new(big.Int)
	rest, err := asn1.Unmarshal(f.FullBytes, &n)
	if err != nil || len(rest) > 0 || !n.IsUint64() {
		return 0, errors.New("not an integer of 64 bits")
	}
	return n.Uint64(), nil
}
