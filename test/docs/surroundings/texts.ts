import {files as filesOfPage, url} from './transformers';

export {url};

export async function files() {
  const texts = [
    'the cat sat',
    'yes yes',
    'a dog slept',
    'no no',
    'the sun',
    'yes',
    'on the mat',
    'no',
    'a cat',
    'no a',
  ];
  const mails = texts.map((text, i) => ({text, label: i % 2 === 0 ? 'mail' : 'spam'}));
  return {...(await filesOfPage()), 'https://example.com/mails.json': JSON.stringify(mails)};
}
