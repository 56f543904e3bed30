/** Numbers of the DNS protocol (IANA DNS parameters; RFC 1035 sections 3.2 and 4.1). */
export const TYPE = { A: 1, NS: 2, SOA: 6, PTR: 12, HINFO: 13, TXT: 16, AAAA: 28, SRV: 33, OPT: 41, AXFR: 252, ANY: 255 } as const;
export const CLASS = { IN: 1, CH: 3 } as const;
export const RCODE = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, NOTAUTH: 9, BADVERS: 16 } as const;
export const HEADER_BYTES = 12;
/** Longest name on the wire, with its final zero (RFC 1035 section 2.3.4). */
export const MAX_NAME_BYTES = 255;
/** The UDP payload we offer and never exceed: below every sane MTU, so never fragmented (DNS flag day 2020). */
export const UDP_PAYLOAD = 1232;

/** Wire form of a name: lower-case text, dot-separated, without the final dot; the empty text is the root. */
export function wireName(name: string): Uint8Array {
  const writer = new WireWriter(MAX_NAME_BYTES + 1);
  writer.name(name);
  return writer.written();
}

/** Appends to a fixed buffer. It throws RangeError when full: sizes are bounded by what the zone may hold. */
export class WireWriter {
  readonly bytes: Uint8Array;
  length = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  u8(value: number): void {
    if (this.length >= this.bytes.length) throw new RangeError(`DNS message exceeds ${this.bytes.length} bytes`);
    this.bytes[this.length++] = value;
  }

  u16(value: number): void {
    this.u8(value >>> 8);
    this.u8(value & 255);
  }

  u32(value: number): void {
    this.u16(value >>> 16);
    this.u16(value & 0xffff);
  }

  raw(bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i++) this.u8(bytes[i] ?? 0);
  }

  /** One length byte, then the text: a label or a character-string. Latin-1; zone content is printable ASCII. */
  counted(text: string, limit: number): void {
    if (text.length > limit) throw new RangeError(`'${text.slice(0, 64)}' exceeds ${limit} bytes`);
    this.u8(text.length);
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i) & 255);
  }

  name(name: string): void {
    if (name !== '') for (const label of name.split('.')) this.counted(label, 63);
    this.u8(0);
  }

  /** Pointer to a name earlier in the message (RFC 1035 section 4.1.4). */
  pointer(offset: number): void {
    this.u16(0xc000 | offset);
  }

  /** A copy of what was written. */
  written(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}
