declare module 'virtual:lines' {
  /** A line whose ink has 8 bits, in base64. */
  interface PackedLine {
    ink: string;
    width: number;
    height: number;
  }
  const lines: {train: PackedLine[]; test: PackedLine[]};
  export default lines;
}
