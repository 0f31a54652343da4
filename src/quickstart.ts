// The entry point for a first result: a small pretrained model, and data that it was not trained on.

export {digitReader} from './extensions/quickstart/digitReader';
export {type Digits, rotatedDigits} from './extensions/quickstart/rotatedDigits';
