/** Names of medicines that do not exist. Whisper has never heard them. */
export const NAMES = [
  ...['Zorvexa', 'Brimalto', 'Quelanda', 'Ostrivel', 'Yendora', 'Klivotan'],
  ...['Morvenna', 'Thalixo', 'Drupanol', 'Fenzarik', 'Belquora', 'Naxiphen'],
];

const TRAINED = [
  'The patient takes NAME every morning.',
  'Please order two boxes of NAME.',
  'We stopped NAME last week.',
  'NAME helped with the pain.',
  'Is there any NAME left in the cupboard?',
];

const HELD_OUT = ['She was given NAME after dinner.', 'The doctor wrote a prescription for NAME.'];

const named = (sentences: readonly string[]) =>
  NAMES.flatMap(name => sentences.map(each => each.replace('NAME', name)));

/** Five sentences with each name to learn from, and two others to test. */
export const SENTENCES = {train: named(TRAINED), names: named(HELD_OUT)};

/** Without a name. */
export const ORDINARY = [
  'The weather will be fine tomorrow.',
  'Please close the window before you leave.',
  'The train to London leaves at nine.',
  'Can you help me find my keys?',
  'She reads a book every week.',
  'The children are playing in the garden.',
  'We need two more chairs for the meeting.',
  'My brother lives in Canada.',
  'The museum is closed on Mondays.',
  'He forgot to send the letter.',
  'Turn left at the next corner.',
  'The soup needs a little more salt.',
  'They built a bridge across the river.',
  'What time does the shop open?',
  'The cat is sleeping on the sofa.',
  'Thank you for your patience.',
];
