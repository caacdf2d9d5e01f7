//! Layer lists in JSON: a list of layers, or an object with a name and a list.
//!
//! The list is checked while it is read, inside the visitor of the layer or the value that is wrong: only there does
//! the JSON reader give an error its line.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::list::{Entry, List};
use crate::mapping::Network;

/// The network, called `stem` where the text does not name it.
pub(super) fn network(stem: &str, text: &str) -> Result<Network, String> {
    let (mut name, mut list) = (None, List::default());
    let mut reader = serde_json::Deserializer::from_str(text);
    // Read as what it begins like, so that a mistake is reported where it is and not as neither form.
    let read = if text.trim_start().starts_with('[') {
        Layers(&mut list).deserialize(&mut reader)
    } else {
        reader.deserialize_map(Object {
            name: &mut name,
            list: &mut list,
        })
    };
    read.and_then(|()| reader.end())
        .map_err(|error| error.to_string())?;
    list.network(name.unwrap_or_else(|| stem.to_owned()))
}

/// The object.
struct Object<'a> {
    name: &'a mut Option<String>,
    list: &'a mut List,
}

/// The keys of the object.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Name,
    /// Whether each layer takes what the one before it produces and nothing else, so that widths may change.
    Chain,
    Layers,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of layers, or an object with `layers`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(key) = map.next_key()? {
            if seen.contains(&key) {
                return Err(A::Error::duplicate_field(match key {
                    Key::Name => "name",
                    Key::Chain => "chain",
                    Key::Layers => "layers",
                }));
            }
            seen.push(key);
            match key {
                Key::Name => *self.name = map.next_value()?,
                Key::Chain => map.next_value_seed(Chain(self.list))?,
                Key::Layers => map.next_value_seed(Layers(self.list))?,
            }
        }
        if seen.contains(&Key::Layers) {
            Ok(())
        } else {
            Err(A::Error::missing_field("layers"))
        }
    }
}

/// Whether the list is a chain.
struct Chain<'a>(&'a mut List);

impl<'de> DeserializeSeed<'de> for Chain<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bool(self)
    }
}

impl<'de> Visitor<'de> for Chain<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, chain: bool) -> Result<(), E> {
        self.0.set_chain(chain).map_err(E::custom)
    }
}

/// The list.
struct Layers<'a>(&'a mut List);

impl<'de> DeserializeSeed<'de> for Layers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Layers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of layers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut layers: A) -> Result<(), A::Error> {
        while layers.next_element_seed(Layer(self.0))?.is_some() {}
        Ok(())
    }
}

/// The next layer of the list.
struct Layer<'a>(&'a mut List);

impl<'de> DeserializeSeed<'de> for Layer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Layer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer, which is an object with `name`, `input`, `kernel` and more")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let entry = Entry::deserialize(MapAccessDeserializer::new(map))?;
        self.0.push(entry).map_err(A::Error::custom)
    }
}
