/**
 * Creates the files in `public/clips/`: two words and a room in which others are said, ten seconds of each, in 8 bits,
 * with which the page opens; and the features of other words. They are committed; run it to create them again.
 *
 *     npx tsx examples/sounds/samples.ts
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {centerSound, type Sound} from 'tfjs-lora/sound';
import {wordFrames} from 'tfjs-lora/words';
import {RATE} from './clips';
import {bytesOf} from './model';
import {room, say, severally, talk} from './voices';

const FOLDER = new URL('public/clips/', import.meta.url);
const CLIPS = 10;
/** Seconds of other words to learn from, and to choose the threshold with. */
const TALK = {learned: 180, held: 80};

/** A WAV file of 8 bits. */
function wavOf(sounds: readonly Sound[]): Buffer {
  const bytes = Uint8ClampedArray.from(sounds.flatMap(({samples}) => Array.from(samples, value => 128 + 127 * value)));
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + bytes.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20); // whole numbers
  header.writeUInt16LE(1, 22); // channels
  header.writeUInt32LE(RATE, 24);
  header.writeUInt32LE(RATE, 28); // bytes a second
  header.writeUInt16LE(1, 32); // bytes a sample of all channels
  header.writeUInt16LE(8, 34); // bits
  header.write('data', 36);
  header.writeUInt32LE(bytes.length, 40);
  return Buffer.concat([header, Buffer.from(bytes)]);
}

mkdirSync(FOLDER, {recursive: true});
const write = (name: string, sounds: readonly Sound[]) =>
  writeFileSync(fileURLToPath(new URL(`${name}.wav`, FOLDER)), wavOf(sounds));
for (const [label, word] of ['computer', 'banana'].entries()) {
  const seeds = Array.from({length: CLIPS}, (_, i) => 100 + 50 * label + i);
  write(word, await severally(seeds, async seed => centerSound(await say(word, 'train', seed))));
}
write('background', [await room(CLIPS / 60, 'train', 7)]);
const talks = [await talk(TALK.learned, 'base', 1), await talk(TALK.held, 'held', 1)];
writeFileSync(fileURLToPath(new URL('talk.bin', FOLDER)), Buffer.concat(talks.map(each => bytesOf(wordFrames(each)))));
