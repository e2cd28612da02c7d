//! Month and weekday names of a few languages, as logs write them.
//!
//! Names are compared without regard to case, for ASCII and for other letters. A name in the input may be the short or
//! the long form, the longest that fits wins; output uses the language's own form for `%b`, `%B`, `%a` and `%A`.
//! Sources: Unicode CLDR 44 and glibc's locales, which differ in abbreviations; both spellings are read.

/// A language's names. Months begin with January, weekdays with Sunday.
#[derive(Debug)]
pub(crate) struct Locale {
    pub(crate) tag: &'static str,
    months: [&'static str; 12],
    short_months: [&'static str; 12],
    weekdays: [&'static str; 7],
    short_weekdays: [&'static str; 7],
    /// Further spellings of months: the name and its month, 0 to 11.
    also: &'static [(&'static str, u8)],
}

/// The tags that `--locale` takes.
pub(crate) fn tags() -> String {
    LOCALES.iter().map(|locale| locale.tag).collect::<Vec<_>>().join(", ")
}

/// English, which every tool of the C locale writes.
pub(crate) fn english() -> &'static Locale {
    &LOCALES[0]
}

/// The names of `tag`: `fr`, `fr_FR`, `fr-FR` and `fr_FR.UTF-8` all mean `fr`; `C` and `POSIX` are English.
pub(crate) fn find(tag: &str) -> Option<&'static Locale> {
    let language = tag.split(['_', '-', '.', '@']).next().unwrap_or(tag).to_lowercase();
    let language = if matches!(language.as_str(), "c" | "posix") { "en" } else { language.as_str() };
    LOCALES.iter().find(|locale| locale.tag == language)
}

impl Locale {
    pub(crate) fn month(&self, month: u8, long: bool) -> &'static str {
        let names = if long { &self.months } else { &self.short_months };
        names.get(usize::from(month.wrapping_sub(1))).copied().unwrap_or("")
    }

    pub(crate) fn weekday(&self, weekday: usize, long: bool) -> &'static str {
        let names = if long { &self.weekdays } else { &self.short_weekdays };
        names.get(weekday).copied().unwrap_or("")
    }
}

/// The month (1 to 12) whose name `text` begins with and the name's length in bytes; the longest name wins.
pub(crate) fn read_month(locales: &[&Locale], text: &[u8]) -> Option<(u8, usize)> {
    let mut best = None;
    for locale in locales {
        for names in [&locale.months, &locale.short_months] {
            longest(&mut best, names.iter().copied().zip(0..), text);
        }
        longest(&mut best, locale.also.iter().copied(), text);
    }
    best.map(|(month, length)| (month + 1, length))
}

/// The length of the weekday name that `text` begins with.
pub(crate) fn read_weekday(locales: &[&Locale], text: &[u8]) -> Option<usize> {
    let mut best = None;
    for locale in locales {
        for names in [&locale.weekdays, &locale.short_weekdays] {
            longest(&mut best, names.iter().copied().zip(0..), text);
        }
    }
    best.map(|(_, length)| length)
}

fn longest<'a>(best: &mut Option<(u8, usize)>, names: impl Iterator<Item = (&'a str, u8)>, text: &[u8]) {
    for (name, index) in names {
        if let Some(length) = common_start(name, text)
            && best.is_none_or(|(_, longest)| length > longest)
        {
            *best = Some((index, length));
        }
    }
}

/// The length of the beginning of `text` that spells `name` in any case.
fn common_start(name: &str, text: &[u8]) -> Option<usize> {
    let bytes = name.as_bytes();
    if bytes.is_ascii() {
        let head = text.get(..bytes.len())?;
        return head.eq_ignore_ascii_case(bytes).then_some(bytes.len());
    }
    // No letter used here changes its UTF-8 length with its case, so the name's length is the text's.
    let head = std::str::from_utf8(text.get(..bytes.len())?).ok()?;
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    (lower(head) == lower(name)).then_some(bytes.len())
}

const LOCALES: [Locale; 12] = [
    Locale {
        tag: "en",
        months: [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ],
        short_months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        weekdays: ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"],
        short_weekdays: ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"],
        also: &[("Sept", 8)],
    },
    Locale {
        tag: "de",
        months: [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
        short_months: ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"],
        weekdays: ["Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"],
        short_weekdays: ["So", "Mo", "Di", "Mi", "Do", "Fr", "Sa"],
        also: &[
            ("Jan.", 0),
            ("Jänner", 0),
            ("Feb.", 1),
            ("Mrz", 2),
            ("Apr.", 3),
            ("Aug.", 7),
            ("Sept", 8),
            ("Sept.", 8),
            ("Okt.", 9),
            ("Nov.", 10),
            ("Dez.", 11),
        ],
    },
    Locale {
        tag: "es",
        months: [
            "enero",
            "febrero",
            "marzo",
            "abril",
            "mayo",
            "junio",
            "julio",
            "agosto",
            "septiembre",
            "octubre",
            "noviembre",
            "diciembre",
        ],
        short_months: ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic"],
        weekdays: ["domingo", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"],
        short_weekdays: ["dom", "lun", "mar", "mié", "jue", "vie", "sáb"],
        also: &[("sept", 8), ("setiembre", 8)],
    },
    Locale {
        tag: "fr",
        months: [
            "janvier",
            "février",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "août",
            "septembre",
            "octobre",
            "novembre",
            "décembre",
        ],
        short_months: [
            "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.",
        ],
        weekdays: ["dimanche", "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi"],
        short_weekdays: ["dim.", "lun.", "mar.", "mer.", "jeu.", "ven.", "sam."],
        also: &[
            ("janv", 0),
            ("jan", 0),
            ("févr", 1),
            ("fév", 1),
            ("avr", 3),
            ("juil", 6),
            ("sept", 8),
            ("sep", 8),
            ("oct", 9),
            ("nov", 10),
            ("déc", 11),
        ],
    },
    Locale {
        tag: "it",
        months: [
            "gennaio",
            "febbraio",
            "marzo",
            "aprile",
            "maggio",
            "giugno",
            "luglio",
            "agosto",
            "settembre",
            "ottobre",
            "novembre",
            "dicembre",
        ],
        short_months: ["gen", "feb", "mar", "apr", "mag", "giu", "lug", "ago", "set", "ott", "nov", "dic"],
        weekdays: ["domenica", "lunedì", "martedì", "mercoledì", "giovedì", "venerdì", "sabato"],
        short_weekdays: ["dom", "lun", "mar", "mer", "gio", "ven", "sab"],
        also: &[("sett", 8)],
    },
    Locale {
        tag: "pt",
        months: [
            "janeiro",
            "fevereiro",
            "março",
            "abril",
            "maio",
            "junho",
            "julho",
            "agosto",
            "setembro",
            "outubro",
            "novembro",
            "dezembro",
        ],
        short_months: ["jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez"],
        weekdays: ["domingo", "segunda", "terça", "quarta", "quinta", "sexta", "sábado"],
        short_weekdays: ["dom", "seg", "ter", "qua", "qui", "sex", "sáb"],
        also: &[
            ("jan.", 0),
            ("fev.", 1),
            ("mar.", 2),
            ("abr.", 3),
            ("jun.", 5),
            ("jul.", 6),
            ("ago.", 7),
            ("set.", 8),
            ("out.", 9),
            ("nov.", 10),
            ("dez.", 11),
        ],
    },
    Locale {
        tag: "ru",
        months: [
            "января",
            "февраля",
            "марта",
            "апреля",
            "мая",
            "июня",
            "июля",
            "августа",
            "сентября",
            "октября",
            "ноября",
            "декабря",
        ],
        short_months: ["янв", "фев", "мар", "апр", "мая", "июн", "июл", "авг", "сен", "окт", "ноя", "дек"],
        weekdays: ["воскресенье", "понедельник", "вторник", "среда", "четверг", "пятница", "суббота"],
        short_weekdays: ["вс", "пн", "вт", "ср", "чт", "пт", "сб"],
        also: &[
            ("январь", 0),
            ("февр", 1),
            ("февраль", 1),
            ("март", 2),
            ("апрель", 3),
            ("май", 4),
            ("июнь", 5),
            ("июль", 6),
            ("август", 7),
            ("сент", 8),
            ("сентябрь", 8),
            ("октябрь", 9),
            ("нояб", 10),
            ("ноябрь", 10),
            ("декабрь", 11),
        ],
    },
    Locale {
        tag: "nl",
        months: [
            "januari",
            "februari",
            "maart",
            "april",
            "mei",
            "juni",
            "juli",
            "augustus",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec"],
        weekdays: ["zondag", "maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag"],
        short_weekdays: ["zo", "ma", "di", "wo", "do", "vr", "za"],
        also: &[("maa", 2)],
    },
    Locale {
        tag: "pl",
        months: [
            "stycznia",
            "lutego",
            "marca",
            "kwietnia",
            "maja",
            "czerwca",
            "lipca",
            "sierpnia",
            "września",
            "października",
            "listopada",
            "grudnia",
        ],
        short_months: ["sty", "lut", "mar", "kwi", "maj", "cze", "lip", "sie", "wrz", "paź", "lis", "gru"],
        weekdays: ["niedziela", "poniedziałek", "wtorek", "środa", "czwartek", "piątek", "sobota"],
        short_weekdays: ["nie", "pon", "wto", "śro", "czw", "pią", "sob"],
        also: &[
            ("styczeń", 0),
            ("luty", 1),
            ("marzec", 2),
            ("kwiecień", 3),
            ("czerwiec", 5),
            ("lipiec", 6),
            ("sierpień", 7),
            ("wrzesień", 8),
            ("październik", 9),
            ("listopad", 10),
            ("grudzień", 11),
        ],
    },
    Locale {
        tag: "sv",
        months: [
            "januari",
            "februari",
            "mars",
            "april",
            "maj",
            "juni",
            "juli",
            "augusti",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan", "feb", "mar", "apr", "maj", "jun", "jul", "aug", "sep", "okt", "nov", "dec"],
        weekdays: ["söndag", "måndag", "tisdag", "onsdag", "torsdag", "fredag", "lördag"],
        short_weekdays: ["sön", "mån", "tis", "ons", "tor", "fre", "lör"],
        also: &[],
    },
    Locale {
        tag: "da",
        months: [
            "januar",
            "februar",
            "marts",
            "april",
            "maj",
            "juni",
            "juli",
            "august",
            "september",
            "oktober",
            "november",
            "december",
        ],
        short_months: ["jan", "feb", "mar", "apr", "maj", "jun", "jul", "aug", "sep", "okt", "nov", "dec"],
        weekdays: ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"],
        short_weekdays: ["søn", "man", "tir", "ons", "tor", "fre", "lør"],
        also: &[],
    },
    Locale {
        tag: "nb",
        months: [
            "januar",
            "februar",
            "mars",
            "april",
            "mai",
            "juni",
            "juli",
            "august",
            "september",
            "oktober",
            "november",
            "desember",
        ],
        short_months: ["jan", "feb", "mar", "apr", "mai", "jun", "jul", "aug", "sep", "okt", "nov", "des"],
        weekdays: ["søndag", "mandag", "tirsdag", "onsdag", "torsdag", "fredag", "lørdag"],
        short_weekdays: ["søn", "man", "tir", "ons", "tor", "fre", "lør"],
        also: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_wins_in_any_case() {
        let french = [find("fr_FR.UTF-8").unwrap(), english()];
        assert_eq!(read_month(&french, "AOÛT 19".as_bytes()), Some((8, 5)));
        assert_eq!(read_month(&french, b"nov. 3"), Some((11, 4)));
        assert_eq!(read_month(&french, b"november"), Some((11, 8)));
        assert_eq!(read_month(&[english()], b"Maybe"), Some((5, 3)));
        assert_eq!(read_month(&[english()], "août".as_bytes()), None);
    }

    #[test]
    fn every_name_of_every_language_is_read_as_its_own_month() {
        for locale in &LOCALES {
            for month in 1..=12 {
                for long in [false, true] {
                    let name = locale.month(month, long);
                    assert_eq!(read_month(&[locale], name.as_bytes()), Some((month, name.len())), "{name}");
                    let upper = name.to_uppercase();
                    assert_eq!(read_month(&[locale], upper.as_bytes()), Some((month, name.len())), "{upper}");
                }
            }
            for weekday in 0..7 {
                let name = locale.weekday(weekday, true);
                assert_eq!(read_weekday(&[locale], name.as_bytes()), Some(name.len()), "{name}");
            }
        }
    }
}
