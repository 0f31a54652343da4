/** Characters that mean themselves in strings of JavaScript in any quotes, and in scripts inside of HTML. */
const ALPHABET = '!#()*+,-.0123456789:;=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz{|}~';

/** Encodes bytes as five characters for every four; zeros fill the last four. */
export function base85Of(bytes: Uint8Array): string {
  const padded = new DataView(new ArrayBuffer(4 * Math.ceil(bytes.length / 4)));
  new Uint8Array(padded.buffer).set(bytes);
  const groups = Array.from({length: padded.byteLength / 4}, (_, i) => {
    let word = padded.getUint32(4 * i);
    const characters = Array.from({length: 5}, () => {
      const character = ALPHABET.charAt(word % 85);
      word = Math.floor(word / 85);
      return character;
    });
    return characters.reverse().join('');
  });
  return groups.join('');
}

/** Decodes what `base85Of` encoded, with the zeros that it added. */
export function bytesOfBase85(text: string): Uint8Array<ArrayBuffer> {
  const digits = new Map(Array.from(ALPHABET, (character, digit) => [character, digit]));
  const bytes = new DataView(new ArrayBuffer((4 * text.length) / 5));
  for (let i = 0; i < text.length; i += 5) {
    let word = 0;
    for (const character of text.slice(i, i + 5)) {
      word = 85 * word + (digits.get(character) ?? 0);
    }
    bytes.setUint32((4 * i) / 5, word);
  }
  return new Uint8Array(bytes.buffer);
}
