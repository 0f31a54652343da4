import {shuffled} from '../shared/random';

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

/** Without a name. Training on some keeps the model from forgetting how to write others. */
const ORDINARY = [
  'I left my umbrella on the bus.',
  'The bakery sells fresh bread.',
  'How far is it to the station?',
  'We watched a film last night.',
  'Her daughter plays the violin.',
  'Put the milk in the fridge.',
  'The river is frozen in winter.',
  'Do you know where he works?',
  'My phone has no battery left.',
  'They are painting the kitchen green.',
  'The teacher praised the class.',
  'A bird is singing in the tree.',
  'We will meet you at noon.',
  'The road is closed for repairs.',
  'He drinks two cups of tea.',
  'Where did you buy that coat?',
  'Our neighbours have three dogs.',
  'It rained all afternoon.',
];

/** Five sentences with each name, and ordinary ones, in an order that is always the same. */
export const TRAIN = shuffled([...named(TRAINED), ...ORDINARY], 1);

/** Other sentences with each name, and others without one. */
export const TEST = {
  named: named(HELD_OUT),
  ordinary: [
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
  ],
};
