// The door to a first result: a small pretrained model and data that it does not know yet, so that ten lines run as
// they are written.

export {digitReader} from './quickstart/digitReader';
export {type Digits, turnedDigits} from './quickstart/turnedDigits';
